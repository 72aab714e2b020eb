"""Whether a run kept enough: the last word on it."""

from collections.abc import Mapping

from prefect import task

from avss_core.metrics.retention import fallen, without_retention
from tasks.records import Gates, Retention


@task(name="check-retention")
def check_retention(tables: Mapping[str, Retention], minimum: float | None) -> Gates:
    """Return the figures whose retention is under a minimum, by variant; None checks nothing."""
    return {
        "min_retention": minimum,
        "fallen": {name: [] if minimum is None else fallen(table, minimum) for name, table in tables.items()},
        "without": {name: without_retention(table) for name, table in tables.items()},
    }


def fallen_lines(gates: Gates, variant: str) -> list[str]:
    """Return a line for each figure of a variant that fell."""
    return [f"{variant}: {sentence}" for sentence in gates["fallen"][variant]]
