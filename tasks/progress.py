"""Progress bars for people at a terminal; nothing in a pipe or a log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of samples just finished."""
    with tqdm(total=total, desc=label, disable=None, leave=False) as bar:

        def advance(done: int) -> None:
            bar.update(done)

        yield advance
