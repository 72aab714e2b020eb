"""Repair the pruned checkpoint in closed form towards the dense one, as a Prefect task."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task
from prefect.logging import get_logger

from avss_core.jobs import checkpoint_repair
from avss_core.jobs.checkpoint_repair import RepairOptions
from avss_core.jobs.mixture import Mixture, OwnText
from tasks.records import RepairFit


@task(name="repair-model")
def repair_model(
    pruned: Path,
    teacher: Path,
    prepared: Path,
    sets: Sequence[str],
    mixture: Mixture,
    options: RepairOptions,
    *,
    dtype: str,
    device: str,
    own: OwnText,
    folder: Path,
    resume: Path,
    provenance: Mapping[str, Any],
) -> RepairFit:
    """Write the repaired checkpoint over what was there, and return what was refitted."""
    return checkpoint_repair.repair_model(
        pruned,
        teacher,
        prepared,
        sets,
        mixture,
        options,
        dtype=dtype,
        device=device,
        own=own,
        folder=folder,
        resume=resume,
        provenance=provenance,
        replace=True,
        say=get_logger("repair").warning,
    )
