"""How far a long step is, on standard error: a bar at a terminal, a plain line now and then elsewhere."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

Advance = Callable[[int], None]
"""Called with the number of units just finished."""


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Advance]:
    """Yield a function to call with the number of units just finished.

    A process that helps another one shows nothing: they would write over one another.

    Args:
        label: what is done, such as "questions of nq".
        total: units in all; of none nothing is shown, and one is not counted.
        unit: what is counted, in the plural.
    """
    with _shown(label, total if total > 1 else None, unit) if total else nullcontext(_unseen) as advance:
        yield _Here(advance)


@contextmanager
def working(label: str) -> Iterator[None]:
    """Show that a step whose length nobody knows is being done, and for how long."""
    with _shown(label, None, ""):
        yield


@contextmanager
def stage_shown(name: str, number: int, count: int) -> Iterator[None]:
    """Show which stage of how many is being done; when it is done its time stays as a line."""
    with _shown(f"stage {number} of {count}: {name}", None, "", kept=True):
        yield


def at_terminal() -> bool:
    """Tell whether standard error is a terminal on which a line can be drawn again."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _shown(
    label: str, total: int | None, unit: str, *, kept: bool = False
) -> AbstractContextManager[Advance]:
    """Return what shows a step where it can be seen; `kept` ones leave a line behind."""
    if multiprocessing.parent_process() is not None:
        return nullcontext(_unseen)
    if at_terminal():
        # Not imported for those who look at no bar.
        from tasks.progress_bars import bar

        return bar(label, total, unit, kept=kept)
    from tasks.progress_lines import lines

    return lines(label, total, unit, at_once=kept)


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
