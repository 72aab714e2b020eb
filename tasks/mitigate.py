"""Train the most prone layers, as a Prefect task with curves in MLflow."""

from pathlib import Path
from typing import Any

from prefect import task
from prefect.logging import get_logger

from avss_core.jobs.prone import checkpoint_mitigation
from tasks.history.curves import curves
from tasks.records import MitigationTraining


@task(name="train-layers")
def train_layers(
    model: Path, prepared: Path, **options: Any
) -> tuple[MitigationTraining, dict[str, float | None]]:
    """Write the merged checkpoint over what was there; return the record, and times and memory."""
    return checkpoint_mitigation.train_layers(
        model, prepared, **options, replace=True, say=get_logger("training").info, curves=curves
    )
