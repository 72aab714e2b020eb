"""Whether a run kept enough: the last word on it."""

from collections.abc import Mapping
from typing import Any

from prefect import task

from avss_core.metrics.retention import fallen, without_retention


@task(name="check-retention")
def check_retention(tables: Mapping[str, Mapping[str, Any]], minimum: float | None) -> dict[str, Any]:
    """Return what was checked, by variant.

    Args:
        tables: variant -> what it kept, as `avss_core.metrics.retention.retention_table` returns it.
        minimum: the smallest retention that passes; None checks nothing.

    Returns:
        min_retention, fallen (sentences by variant) and without (figures that have no retention).
    """
    return {
        "min_retention": minimum,
        "fallen": {name: [] if minimum is None else fallen(table, minimum) for name, table in tables.items()},
        "without": {name: without_retention(table) for name, table in tables.items()},
    }


def fallen_lines(found: Mapping[str, Any], variant: str) -> list[str]:
    """Return a line for each figure of a variant that fell."""
    return [f"{variant}: {sentence}" for sentence in found["fallen"][variant]]
