"""A long step: how much of it is done, and how long it takes."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate


def duration_text(seconds: float) -> str:
    """Return a time in its two largest units, below ten seconds with one digit."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    large, small, names = (
        (*divmod(whole, 60), ("min", "s")) if whole < 3600 else (*divmod(whole // 60, 60), ("h", "min"))
    )
    parts = [f"{value} {unit}" for value, unit in zip((large, small), names, strict=True) if value]
    return " ".join(parts)


@dataclass
class Step:
    """What is being done, how far it is, and for how long; times are in seconds."""

    label: str
    total: int | None = None
    """Units in all, None if they are not counted."""
    unit: str = ""
    """What is counted, in the plural."""
    sizes: Sequence[float] = ()
    """Work of each unit, in the order in which they finish; empty if all are equal."""
    is_stage: bool = False
    """A stage always says its name and, at its end, how long it took."""
    switched_off: str = ""
    """The parameter that left the stage out, if one did."""
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        """Start the clock."""
        self.started, self.done, self._expected = self.clock(), 0, 0.0
        self._work = list(accumulate(self.sizes)) or range(1, (self.total or 0) + 1)
        self._lock = threading.Lock()

    def advance(self, done: int) -> None:
        """Count units that have just finished, and estimate anew how long the whole step takes."""
        with self._lock:
            self.done += done
            finished = min(self.done, len(self._work))
            if finished > 0 and (work := self._work[finished - 1]):
                self._expected = self.passed * self._work[-1] / work

    @property
    def passed(self) -> float:
        """Return how long the step has taken so far."""
        return self.clock() - self.started

    @property
    def left(self) -> float:
        """Return about how long it will still take; 0 if that is unknown: nothing is done, or it is late."""
        return max(0.0, self._expected - self.passed)

    @property
    def counted(self) -> str:
        """Return how many units are done, empty if they are not counted."""
        return "" if self.total is None else f"{self.done:,} of {self.total:,} {self.unit}"

    @property
    def times(self) -> str:
        """Return the time so far and, if it is known, about how much is left."""
        text = duration_text(self.passed)
        return f"{text}, {duration_text(self.left)} left" if self.left else text

    @property
    def ending(self) -> str:
        """Return the line that says how the step ended."""
        if self.switched_off:
            return f"{self.label}: switched off ({self.switched_off})"
        return f"{self.label}: {self.counted or 'done'} in {duration_text(self.passed)}"
