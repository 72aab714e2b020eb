"""Progress at a terminal: one live display for all steps of the process, which vanishes with the last."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Column

from avss_core.display.timing import Step

_LOCK = threading.RLock()
_OPEN: list[Progress] = []
"""The display, while there is a step to show."""


@contextmanager
def bar(step: Step) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of units just finished; a stage leaves its last line."""
    display = _opened()
    row = display.add_task(step.label, total=step.total, step=step)

    def advance(done: int) -> None:
        step.advance(done)
        display.advance(row, done)

    try:
        yield advance
        if step.is_stage:
            print(step.ending, file=sys.stderr)
    finally:
        _closed(display, row)


def _opened() -> Progress:
    """Return the display, which the first step opens."""
    with _LOCK:
        if not _OPEN:
            _OPEN.append(_display(Console(stderr=True)))
            _OPEN[0].start()
        _log_above(_OPEN[0].console)
        return _OPEN[0]


def _closed(display: Progress, row: TaskID) -> None:
    """Take a step from the display, which the last one closes."""
    with _LOCK:
        display.remove_task(row)
        if not display.tasks:
            display.stop()
            _OPEN.clear()


def _display(console: Console) -> Progress:
    """Return a display that fits in 80 columns."""
    numbers = Column(no_wrap=True, justify="right")
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[step].counted}", markup=False, table_column=numbers),
        TextColumn("{task.fields[step].times}", markup=False, table_column=numbers.copy()),
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
