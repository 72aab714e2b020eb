"""What a command of the pipeline works in: a quiet log, a bar, a Prefect flow with its server, a workspace.

Prefect is imported when a command runs, so that the help does not wait for it.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from avss_core.cli.errors import quiet
from avss_core.cli.session import loading
from avss_core.display.steps import working
from flows.running.workspace import Workspace

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def at_work(label: str, verbose: bool) -> Iterator[None]:
    """Show that a command works; Prefect logs every task if `verbose`."""
    quiet(verbose)
    with working(label):
        yield


def as_flow(name: str, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Run a function as a Prefect flow of that name, with a server around it, and return its result."""
    with loading():
        from prefect import flow

        from flows.running.server import kept_server
    # Its types are known to the type checker alone.
    run = flow(name=name, persist_result=False, validate_parameters=False)(work)
    with kept_server():
        return run(*arguments, **options)


@contextmanager
def scratch() -> Iterator[Workspace]:
    """Yield a workspace that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="avss-") as folder:
        yield Workspace(Path(folder))
