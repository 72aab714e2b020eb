"""How far a long step is, on standard error: a bar at a terminal, a plain line now and then elsewhere."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

Advance = Callable[[int], None]
"""Called with the number of units just finished."""


@dataclass
class Stage:
    """What the last line of a stage says of it."""

    switched_off: str = ""
    """The parameter that left the stage out, if one did."""

    def ending(self, took: str) -> str:
        """Return how the stage ended, which took so long."""
        return f"switched off ({self.switched_off})" if self.switched_off else took


@contextmanager
def progress(label: str, total: int, unit: str, sizes: Sequence[float] = ()) -> Iterator[Advance]:
    """Yield a function to call with the number of units just finished.

    A process that helps another one shows nothing: they would write over one another.

    Args:
        label: what is done, such as "questions of nq".
        total: units in all; of none nothing is shown, and one is not counted.
        unit: what is counted, in the plural.
        sizes: how much work each unit is, in the order in which they finish; alike where left out.
    """
    counted = total if total > 1 else None
    with _shown(label, counted, unit, sizes=sizes) if total else nullcontext(_unseen) as advance:
        yield _Here(advance)


@contextmanager
def working(label: str) -> Iterator[None]:
    """Show that a step whose length nobody knows is being done, and for how long."""
    with _shown(label, None, ""):
        yield


@contextmanager
def stage_shown(name: str, number: int, count: int) -> Iterator[Stage]:
    """Show which stage of how many is being done; when it is done its time stays as a line.

    Yields what can be told that the stage was switched off.
    """
    stage = Stage()
    with _shown(f"stage {number} of {count}: {name}", None, "", ending=stage.ending):
        yield stage


def at_terminal() -> bool:
    """Tell whether standard error is a terminal on which a line can be drawn again."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _shown(
    label: str,
    total: int | None,
    unit: str,
    *,
    sizes: Sequence[float] = (),
    ending: Callable[[str], str] | None = None,
) -> AbstractContextManager[Advance]:
    """Return what shows a step where it can be seen; one with an `ending` leaves a line behind."""
    if multiprocessing.parent_process() is not None:
        return nullcontext(_unseen)
    if at_terminal():
        # Not imported for those who look at no bar.
        from tasks.progress.bars import bar

        return bar(label, total, unit, sizes=sizes, ending=ending)
    from tasks.progress.lines import lines

    return lines(label, total, unit, sizes=sizes, ending=ending)


class _Here:
    """Tells of units in the process that shows them: one that is sent to another process shows nothing.

    Dask sends what the flow around its tasks refers to, and no lock or display can be sent.
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
