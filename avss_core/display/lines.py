"""Progress in a pipe: whole lines, few of them; the last one says how long a step took."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from avss_core.display.timing import Step, duration_text

QUIET = 2.0
"""Seconds before a step says its first word; a shorter one says nothing."""

OFTEN = 5.0
"""Seconds between two lines of a step, at least."""

RARELY = 30.0
"""Seconds after which a step says how far it is, even if that is less than a tenth further."""

_PARTS = 10
"""A step says how far it is after each tenth."""


class StepLines:
    """What one step says, and when.

    Args:
        step: the step.
        write: takes a line.
    """

    latest = 0.0
    """When any step of this process last said something: one that counts nothing does not talk in between."""

    def __init__(self, step: Step, write: Callable[[str], None]) -> None:
        self.step, self.write = step, write
        self.last = step.started
        self.told = 0
        self.spoken = False
        self._lock = threading.Lock()

    def advance(self, done: int) -> None:
        """Count finished units, and say so if it is time."""
        self.step.advance(done)
        self.tick()

    def tick(self) -> None:
        """Say how far the step is if it is time."""
        with self._lock:
            if self._due():
                self.say(self._how_far())

    def say(self, line: str) -> None:
        """Write a line, and remember when and how far the step was."""
        self.spoken, self.told = True, self.step.done
        self.last = StepLines.latest = self.step.clock()
        self.write(line)

    def end(self) -> None:
        """Say how the step ended, if anything was said before."""
        if self.spoken:
            self.say(self.step.ending)

    def _due(self) -> bool:
        step, now = self.step, self.step.clock()
        if not self.spoken:
            return step.passed >= QUIET
        if step.total is None:
            return now - max(self.last, StepLines.latest) >= RARELY
        silent = now - self.last
        further = (step.done - self.told) * _PARTS >= step.total and step.done < step.total
        return silent >= RARELY or (further and silent >= OFTEN)

    def _how_far(self) -> str:
        step = self.step
        if step.total is None and not self.spoken:
            return step.label
        left = f"about {duration_text(step.left)} left" if step.left else ""
        parts = [step.counted, f"{duration_text(step.passed)} so far", left]
        return f"{step.label}: {', '.join(part for part in parts if part)}"


@contextmanager
def lines(step: Step) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of units just finished; lines go to standard error."""
    said, over = StepLines(step, _write), threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            said.tick()

    if step.is_stage:
        said.say(step.label)
    # Speaks for a step that counts nothing for a while.
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield said.advance
        said.end()
    finally:
        over.set()
        watcher.join()


def _write(line: str) -> None:
    # One write a line: several steps speak at once.
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
