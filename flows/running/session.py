"""What a command that takes a while does first: hold Prefect's log back, and show that it is at work."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from flows.running.errors import quiet
from tasks.progress.steps import working


def loading() -> AbstractContextManager[None]:
    """Show that a command loads what it needs, and checks its settings."""
    return working("loading libraries")


@contextmanager
def at_work(label: str, verbose: bool) -> Iterator[None]:
    """Show that a command works, from before its imports on; Prefect tells of every task if `verbose`."""
    quiet(verbose)
    with working(label):
        yield
