"""Summarise answers and compare models, as Prefect tasks."""

from collections.abc import Mapping
from typing import Any

from prefect import task

from avss_core.jobs.evaluation import summaries
from avss_core.metrics.comparison import differences_by_set
from avss_core.metrics.retention import retention_table
from tasks.records import Changes, Retention

summarise_variant = task(name="summarise-variant")(summaries.summarise_variant)
summarise_layers = task(name="summarise-layers")(summaries.summarise_layers)


@task(name="compare-variants")
def compare_variants(before: Mapping[str, Any], after: Mapping[str, Any], *, seed: int) -> dict[str, Changes]:
    """Return the change of every figure from one model to another, by question set."""
    return differences_by_set(before["sets"], after["sets"], seed)


@task(name="retention")
def retained(before: Mapping[str, Any], after: Mapping[str, Any], *, seed: int) -> Retention:
    """Return what one model keeps of another's figures, with paired intervals."""
    return retention_table(before, after, seed=seed)
