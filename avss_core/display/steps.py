"""How far a long step is, on standard error: a bar at a terminal, a plain line now and then in a pipe."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from avss_core.display.lines import lines
from avss_core.display.timing import Step

Advance = Callable[[int], None]
"""Called with the number of units just finished."""


@contextmanager
def progress(label: str, total: int, unit: str, sizes: Sequence[float] = ()) -> Iterator[Advance]:
    """Yield a function to call with the number of units just finished.

    Args:
        label: what is done, such as "questions of nq".
        total: units in all; nothing is shown if there are none, and a single one is not counted.
        unit: what is counted, in the plural.
        sizes: work of each unit, in the order in which they finish; empty if all are equal.
    """
    step = Step(label, total if total > 1 else None, unit, sizes)
    with _shown(step) if total else nullcontext(_unseen) as advance:
        yield _Here(advance)


@contextmanager
def working(label: str) -> Iterator[None]:
    """Show that a step of unknown length is being done, and for how long."""
    with _shown(Step(label)):
        yield


@contextmanager
def stage_shown(name: str, number: int, count: int) -> Iterator[Step]:
    """Show which of all stages is being done; a line stays that says how long it took.

    Yields the step, whose `switched_off` may be set.
    """
    step = Step(f"stage {number} of {count}: {name}", is_stage=True)
    with _shown(step):
        yield step


def _shown(step: Step) -> AbstractContextManager[Advance]:
    """Return what shows a step; processes that help another one show nothing, or all would write at once."""
    if multiprocessing.parent_process() is not None:
        return nullcontext(_unseen)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from avss_core.display.bars import bar  # imports rich, which a pipe does not need

        return bar(step)
    return lines(step)


class _Here:
    """Counts units in the process that shows them; a copy sent to another process shows nothing.

    Dask sends what the flow around its tasks refers to, and neither a lock nor a display can be sent.
    """

    def __init__(self, advance: Advance) -> None:
        self.advance = advance

    def __call__(self, done: int) -> None:
        """Count finished units."""
        self.advance(done)

    def __reduce__(self) -> tuple[type["_Here"], tuple[Advance]]:
        """Return how it is made anew elsewhere."""
        return _Here, (_unseen,)


def _unseen(_done: int) -> None:
    """Show nothing."""
