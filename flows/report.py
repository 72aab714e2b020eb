"""Stage report: one self-contained page, its figures, and the summary that DVC and MLflow compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avss_core.data.lineage import ALL
from avss_core.settings.params import Params
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.history.stage_log import StageLog
from tasks.render import write_report


@stage(
    "report",
    (
        "seed",
        "model",
        "data",
        "collect",
        "score",
        "prune",
        "repair",
        "evaluate",
        "heal",
        "localize",
        "mitigate",
        "gates",
    ),
    reads=ALL,
)
def report(params: Params, workspace: Workspace) -> StageLog:
    """Render the results of the other stages."""
    summary, files, opening = write_report(**_inputs(params, workspace))
    return StageLog(
        files=files,
        tables={"summary.json": summary},
        note=described(opening),
        pictures=[file for file in files if file.stem == "overview"],
    )


def described(opening: Sequence[str]) -> str:
    """Return the description of a run in MLflow: the first sentences of its report, and where the rest is."""
    lines = [f"- {line}" for line in opening]
    rest = "Picture: the artifact `figures/overview.png` of this run. Page: `index.html` of the run `report`."
    return "\n".join([*lines, "", rest])


def render(params: Params, root: Path) -> None:
    """Render the page of a workspace again, without a server and without a record."""
    write_report.fn(**_inputs(params, Workspace(root.resolve())))


def _inputs(params: Params, workspace: Workspace) -> dict[str, Any]:
    """Return the paths of the other stages' results and of the page."""
    stages = ["prepared", "dense", "statistics", "scores", "pruned", "repaired", "repair", "sizes"]
    stages += ["evaluation", "healed", "healing", "localization", "mitigated", "mitigation"]
    stages += ["times", "pictures"]
    return {name: getattr(workspace, name) for name in stages} | {
        "parameters": params.flat(),
        "folder": workspace.reports,
    }
