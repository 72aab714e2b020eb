"""Progress at a terminal: one live display for all steps of the process, which is gone when they are done."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from tasks.progress.durations import duration_text
from tasks.progress.time_left import Remaining

_LOCK = threading.RLock()
_OPEN: list[Progress] = []
"""The display, while there is a step to show."""


class _Bar(BarColumn):
    """A bar, where it is known how many units there are."""

    def render(self, task: Task) -> Any:
        """Return the bar, or nothing."""
        return Text() if task.total is None else super().render(task)


class _HowFar(ProgressColumn):
    """Units done of all."""

    def render(self, task: Task) -> Text:
        """Return the count, nothing where nobody knows how many there are."""
        if task.total is None:
            return Text()
        return Text(f"{int(task.completed):,}/{int(task.total):,} {task.fields['unit']}")


class _Times(ProgressColumn):
    """Time passed, and about how much is left."""

    def render(self, task: Task) -> Text:
        """Return both times, one where nothing is known of the other."""
        passed = task.elapsed or 0.0
        left = task.fields["left"].seconds(time.monotonic())
        return Text(f"{duration_text(passed)}, {duration_text(left)} left" if left else duration_text(passed))


@contextmanager
def bar(
    label: str,
    total: int | None,
    unit: str,
    *,
    sizes: Sequence[float] = (),
    ending: Callable[[str], str] | None = None,
) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of units just finished.

    Args:
        label: what is done.
        total: units in all, None where nobody knows.
        unit: what is counted, in the plural.
        sizes: how much work each unit is, in the order in which they finish; alike where left out.
        ending: makes of the time what the line says that the step leaves behind; None leaves no line.
    """
    started = time.monotonic()
    display = _opened()
    left = Remaining(total or 0, started, sizes)
    shown = display.add_task(label, total=total, unit=unit, left=left)

    def advance(done: int) -> None:
        left.advance(done, time.monotonic())
        display.advance(shown, done)

    try:
        yield advance
        if ending is not None:
            print(f"{label}: {ending(duration_text(time.monotonic() - started))}", file=sys.stderr)
    finally:
        _closed(display, shown)


def _opened() -> Progress:
    """Return the display, which the first step opens."""
    with _LOCK:
        if not _OPEN:
            _OPEN.append(_display(Console(stderr=True)))
            _OPEN[0].start()
        _log_above(_OPEN[0].console)
        return _OPEN[0]


def _closed(display: Progress, shown: int) -> None:
    """Take a step from the display, which the last one closes."""
    with _LOCK:
        display.remove_task(shown)  # type: ignore[arg-type]
        if not display.tasks:
            display.stop()
            _OPEN.clear()


def _display(console: Console) -> Progress:
    """Return a display that fits in 80 columns."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
        _Bar(bar_width=10),
        _HowFar(table_column=Column(no_wrap=True, justify="right")),
        _Times(table_column=Column(no_wrap=True, justify="right")),
        console=console,
        transient=True,
        expand=True,
        refresh_per_second=4,
        redirect_stdout=False,  # results must not land on standard error
    )


def _log_above(console: Console) -> None:
    """Send what Prefect logs through the display's console, so that neither writes over the other."""
    for name in list(logging.root.manager.loggerDict):
        for handler in logging.getLogger(name).handlers if name.startswith("prefect") else ():
            if isinstance(getattr(handler, "console", None), Console):
                handler.console = console  # type: ignore[attr-defined]
