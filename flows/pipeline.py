"""The whole DAG as one flow, and the table of its stages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import flow

from avss_core.display.steps import stage_shown
from avss_core.files.writing import write_text
from avss_core.settings.params import Params
from avss_core.settings.reading import params_text
from flows import PROJECT, ROOT
from flows.collect import collect
from flows.evaluate import evaluate
from flows.gate import gate
from flows.heal import heal
from flows.localize import localize
from flows.mitigate import mitigate
from flows.prepare import prepare
from flows.prune import prune
from flows.repair import repair
from flows.report import report
from flows.running.workspace import Workspace
from flows.score import score
from flows.speed import speed
from tasks.history.tracking import pipeline_run

STAGES: Mapping[str, Any] = {
    stage.name: stage
    for stage in (
        prepare,
        collect,
        score,
        prune,
        repair,
        speed,
        evaluate,
        heal,
        localize,
        mitigate,
        report,
        gate,
    )
}
"""The stages of `dvc.yaml`, in the order in which they run."""


@flow(name="pipeline")
def pipeline(params: Params, root: Path = PROJECT) -> None:
    """Run every stage in order in one workspace, as children of one MLflow run.

    Outside the repository the settings are written beside the results, where `avss report` reads them.
    """
    if root.resolve() != PROJECT:
        write_text(Workspace(root).settings, params_text(params))
    with pipeline_run(ROOT, PROJECT):
        for number, (name, stage) in enumerate(STAGES.items(), 1):
            with stage_shown(name, number, len(STAGES)) as shown:
                shown.switched_off = stage(params, root)
