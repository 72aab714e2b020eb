"""Progress where nobody can draw: whole lines, few of them, the last of which says how long a step took."""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tasks.progress.durations import duration_text
from tasks.progress.time_left import Remaining

QUIET = 2.0
"""Seconds before a step says its first word; one that takes less says none."""

OFTEN = 5.0
"""Seconds between two lines of a step, at least."""

RARELY = 30.0
"""Seconds after which a step says how far it is, even if that is no tenth further."""

_PARTS = 10
"""A step says how far it is after each tenth."""


class StepLines:
    """What one step says, and when.

    Args:
        label: what is done.
        total: units in all, None where nobody knows.
        unit: what is counted, in the plural.
        write: takes a line.
        clock: seconds, from anywhere.
        sizes: how much work each unit is, in the order in which they finish; alike where left out.
    """

    latest = 0.0
    """When any step of this process has said something: one that counts nothing does not talk in between."""

    def __init__(
        self,
        label: str,
        total: int | None,
        unit: str,
        write: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sizes: Sequence[float] = (),
    ) -> None:
        self.label, self.total, self.unit, self.write, self.clock = label, total, unit, write, clock
        self.started = self.last = clock()
        self.left = Remaining(total or 0, self.started, sizes)
        self.done = self.told = 0
        self.spoken = False
        self._lock = threading.Lock()

    def advance(self, done: int) -> None:
        """Count finished units, and say so where it is time."""
        with self._lock:
            self.done += done
            self.left.advance(done, self.clock())
        self.tick()

    def tick(self) -> None:
        """Say how far the step is where it is time."""
        with self._lock:
            if self._due():
                self._say(f"{self.label}{self._how_far()}")

    def start(self) -> None:
        """Say at once what is being done."""
        self._say(self.label)

    def end(self, ending: Callable[[str], str] = str) -> None:
        """Say how long it took, if anything was said before, or what `ending` makes of that."""
        if self.spoken:
            counted = "done" if self.total is None else self._counted()
            took = f"{counted} in {duration_text(self.clock() - self.started)}"
            self._say(f"{self.label}: {ending(took)}")

    def _due(self) -> bool:
        now = self.clock()
        if not self.spoken:
            return now - self.started >= QUIET
        if self.total is None:
            return now - max(self.last, StepLines.latest) >= RARELY
        silent = now - self.last
        further = (self.done - self.told) * _PARTS >= self.total and self.done < self.total
        return silent >= RARELY or (further and silent >= OFTEN)

    def _say(self, text: str) -> None:
        self.spoken, self.told = True, self.done
        self.last = StepLines.latest = self.clock()
        self.write(text)

    def _how_far(self) -> str:
        passed = self.clock() - self.started
        if self.total is None:
            return f": {duration_text(passed)} so far" if self.spoken else ""
        text = f": {self._counted()}, {duration_text(passed)} so far"
        left = self.left.seconds(self.started + passed)
        return text + (f", about {duration_text(left)} left" if left else "")

    def _counted(self) -> str:
        return f"{self.done:,} of {self.total:,} {self.unit}"


@contextmanager
def lines(
    label: str,
    total: int | None,
    unit: str,
    *,
    sizes: Sequence[float] = (),
    ending: Callable[[str], str] | None = None,
) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of units just finished; lines go to standard error.

    Args:
        label: what is done.
        total: units in all, None where nobody knows.
        unit: what is counted, in the plural.
        sizes: how much work each unit is, in the order in which they finish; alike where left out.
        ending: makes of the time what the last line says; a step that has one says its label before anything
            else, however short it is.
    """
    step, over = StepLines(label, total, unit, _write, sizes=sizes), threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            step.tick()

    if ending is not None:
        step.start()
    # A step that counts nothing for a while speaks too.
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield step.advance
        step.end(ending or str)
    finally:
        over.set()
        watcher.join()


def _write(line: str) -> None:
    # In one piece: several steps watch themselves.
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
