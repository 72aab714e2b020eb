"""Curves of a stage's MLflow run, written while the stage runs."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mlflow.entities import Metric

from tasks.history.stage_log import log_batches
from tasks.history.tracking import open_run

WRITE_SECONDS = 5.0
"""Points are written together at most so often: a write costs as much as a step of a small model."""

_BATCH = 900


class Curves:
    """Points of curves by step; outside of a stage's run they go nowhere."""

    def __init__(self, name: str, seconds: float = WRITE_SECONDS) -> None:
        self.name, self.seconds = name, seconds
        self._held: list[Metric] = []
        self._missing: set[str] = set()
        self._written = time.monotonic()

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Add one point to each curve `name.key`, and write what is held where the last write is long ago.

        A curve has a gap where a value is infinite or not a number, and a tag `not_a_number.NAME` says so.
        """
        now = int(time.time() * 1000)
        for key, value in values.items():
            name = f"{self.name}.{key}"
            if math.isfinite(value):
                self._held.append(Metric(name, float(value), now, step))
            else:
                self._missing.add(name)
        if time.monotonic() - self._written >= self.seconds or len(self._held) >= _BATCH:
            self.write()

    def write(self) -> None:
        """Write what is held."""
        held, self._held, self._written = self._held, [], time.monotonic()
        missing, self._missing = self._missing, set()
        run = open_run()
        if run is None:
            return
        client, identifier = run
        tags = {f"not_a_number.{name}": "true" for name in sorted(missing)}
        log_batches(client, identifier, metrics=held, tags=tags)


@contextmanager
def curves(name: str) -> Iterator[Curves]:
    """Yield curves that are written to the last point however the context ends."""
    kept = Curves(name)
    try:
        yield kept
    finally:
        kept.write()
