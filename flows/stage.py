"""What every stage has in common: a Prefect flow over a workspace, recorded as one MLflow run."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow

from avss_core.digests import digest_json
from flows import ROOT
from flows.params import UNTRACKED, Params
from flows.workspace import Workspace
from tasks.tracking import StageLog, stage_run

Body = Callable[[Params, Workspace], StageLog]


def stage(name: str, sections: tuple[str, ...]) -> Callable[[Body], Any]:
    """Return a decorator that makes a stage body the flow `name(params, root)`.

    Args:
        name: of the flow, the DVC stage and the MLflow run.
        sections: the parameters that the stage reads, recorded with its run beside how it was carried out.
    """

    def wrap(body: Body) -> Any:
        def run(params: Params, root: Path = ROOT) -> None:
            recorded = {*sections, *UNTRACKED}
            chosen = {key: value for key, value in params.flat().items() if key.partition(".")[0] in recorded}
            with stage_run(ROOT, name, chosen, digest_json(params.decisive())) as log:
                log(body(params, Workspace(root.resolve())))

        functools.update_wrapper(run, body, assigned=("__doc__", "__module__"), updated=())
        del run.__wrapped__  # type: ignore[attr-defined]  # the flow has its own signature
        made: Any = flow(name=name)(run)
        made.sections = sections
        return made

    return wrap
