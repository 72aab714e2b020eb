"""How long a step will still take, from what it has finished and when."""

from collections.abc import Sequence
from itertools import accumulate


class Remaining:
    """The time that is left: it falls while nothing finishes, and is thought over when something does.

    Args:
        total: units in all.
        now: when the step starts, in seconds from anywhere.
        sizes: how much work each unit is, in the order in which they finish; alike where left out.
    """

    def __init__(self, total: int, now: float, sizes: Sequence[float] = ()) -> None:
        self._work: Sequence[float] = list(accumulate(sizes)) if sizes else range(1, total + 1)
        self._started, self._done, self._whole = now, 0, 0.0

    def advance(self, done: int, now: float) -> None:
        """Count units that have just finished."""
        self._done = min(self._done + done, len(self._work))
        if self._done and (work := self._work[self._done - 1]):
            self._whole = (now - self._started) * self._work[-1] / work

    def seconds(self, now: float) -> float:
        """Return about how long it will take; 0 where nobody can tell: nothing is done, or it is late."""
        return max(0.0, self._whole - (now - self._started))
