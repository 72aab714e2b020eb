"""Progress bars for people at a terminal; nothing in a pipe, a log or a process that helps another one."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of samples just finished."""
    # Several processes would write over one another on the terminal that they share.
    helps = multiprocessing.parent_process() is not None
    with tqdm(total=total, desc=label, disable=helps or None, leave=False) as bar:

        def advance(done: int) -> None:
            bar.update(done)

        yield advance
