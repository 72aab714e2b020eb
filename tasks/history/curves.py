"""Curves of a stage's MLflow run, written while the stage runs."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mlflow.entities import Metric

from tasks.history.stage_log import log_batches
from tasks.history.tracking import open_run

WRITE_SECONDS = 5.0
"""Least time between two writes: one costs as much as a step of a small model."""

_BATCH = 900


class Curves:
    """Points of curves by step; without an open stage run they go nowhere."""

    def __init__(self, name: str, seconds: float = WRITE_SECONDS) -> None:
        self.name, self.seconds = name, seconds
        self._held: list[Metric] = []
        self._missing: set[str] = set()
        self._written = time.monotonic()

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Add one point to each curve `name.key`, and write all points if the last write is long ago.

        An infinite value or NaN leaves a gap and sets the tag `not_a_number.NAME`.
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
        """Write the points that are held."""
        if run := open_run():
            tags = {f"not_a_number.{name}": "true" for name in sorted(self._missing)}
            log_batches(*run, metrics=self._held, tags=tags)
        self._held, self._missing, self._written = [], set(), time.monotonic()


@contextmanager
def curves(name: str) -> Iterator[Curves]:
    """Yield curves; their last points are written however the context ends."""
    drawn = Curves(name)
    try:
        yield drawn
    finally:
        drawn.write()
