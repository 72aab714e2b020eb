"""A stage: a Prefect flow over a workspace, recorded as one MLflow run."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import flow

from avss_core.data.lineage import data_parts
from avss_core.files.digests import digest_json
from avss_core.files.writing import sweep
from avss_core.settings.params import UNTRACKED, Params
from flows import PROJECT, ROOT
from flows.running.workspace import Workspace
from tasks.history.stage_log import StageLog
from tasks.history.tracking import stage_run

Body = Callable[[Params, Workspace], StageLog]


def stage(name: str, sections: tuple[str, ...], reads: Sequence[str] = ()) -> Callable[[Body], Any]:
    """Return a decorator that makes a stage body the flow `name(params, root)`.

    The flow returns the parameter that switches the stage off, or an empty text.

    Args:
        name: of the flow, the DVC stage and the MLflow run.
        sections: of the parameters that the stage reads; recorded with its run, like `UNTRACKED`.
        reads: kinds of `avss_core.data.lineage.ALL`, the prepared data that the stage reads or makes.
    """

    def wrap(body: Body) -> Any:
        def run(params: Params, root: Path = PROJECT) -> str:
            flat, recorded = params.flat(), {*sections, *UNTRACKED}
            chosen = {key: value for key, value in flat.items() if key.partition(".")[0] in recorded}
            workspace = Workspace(root.resolve())
            sweep(workspace.root / "data", workspace.reports)
            digest = digest_json(params.decisive())
            with stage_run(ROOT, name, chosen, digest, flat, project=PROJECT) as log:
                result = body(params, workspace)
                read = () if result.left_out else data_parts(workspace.prepared, reads)
                log(replace(result, data=read))
            return result.left_out

        functools.update_wrapper(run, body, assigned=("__doc__", "__module__"), updated=())
        del run.__wrapped__  # type: ignore[attr-defined]  # the flow has its own signature
        made: Any = flow(name=name)(run)
        made.sections, made.reads = sections, tuple(reads)
        return made

    return wrap
