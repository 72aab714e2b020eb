"""Heal the pruned checkpoint by distillation from the dense one, as a Prefect task with curves in MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.logging import get_logger

from avss_core.jobs import checkpoint_healing
from avss_core.jobs.mixture import Mixture, OwnText
from tasks.history.curves import curves
from tasks.records import HealingTraining


@task(name="heal-model")
def heal_model(
    student: Path,
    teacher: Path,
    prepared: Path,
    sets: Sequence[str],
    mixture: Mixture,
    *,
    dtype: str,
    device: str,
    layers: Sequence[int] | None,
    settings: Mapping[str, Any],
    own: OwnText,
    folder: Path,
    resume: Path,
    provenance: Mapping[str, Any],
) -> tuple[HealingTraining, dict[str, float | None]]:
    """Write the healed checkpoint over what was there; return the record, and times and memory."""
    return checkpoint_healing.heal_model(
        student,
        teacher,
        prepared,
        sets,
        mixture,
        dtype=dtype,
        device=device,
        layers=layers,
        settings=settings,
        own=own,
        folder=folder,
        resume=resume,
        provenance=provenance,
        replace=True,
        say=get_logger("training").info,
        curves=curves,
    )
