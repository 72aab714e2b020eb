"""Stage report: one self-contained page, its figures, and the summary that DVC and MLflow compare."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from avss_core.data.lineage import ALL
from avss_core.settings.params import Params
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.history.stage_log import StageLog
from tasks.render import write_report
from tasks.report.headline_figures import FIGURES, headline_figures, headline_table


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
    figures = headline_figures(summary)
    create_markdown_artifact(
        "\n".join(_bullets(opening)), key="report", description="The report's first words"
    )
    create_table_artifact(
        [{"figure": FIGURES[name], "value": value} for name, value in figures.items()], key="headline-figures"
    )
    return StageLog(
        metrics={f"headline/{name}": value for name, value in figures.items()},
        files=files,
        tables={"summary.json": summary},
        note=described(opening, figures),
        pictures=[file for file in files if file.stem == "overview"],
    )


def described(opening: Sequence[str], figures: Mapping[str, float]) -> str:
    """Return the description of a run in MLflow: its first sentences and figures, and where the rest is."""
    rest = "Picture: the artifact `figures/overview.png` of this run. Page: `index.html` of the run `report`."
    return "\n".join([*_bullets(opening), "", headline_table(figures), "", rest])


def _bullets(sentences: Sequence[str]) -> list[str]:
    return [f"- {sentence}" for sentence in sentences]


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
