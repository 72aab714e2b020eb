"""What a command works in: a quiet log, a bar, a Prefect flow with its server, and a scratch workspace.

Prefect is imported when a command runs, so that the help does not wait for it.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from flows.running.errors import quiet
from flows.running.workspace import Workspace
from tasks.progress.steps import working

if TYPE_CHECKING:
    from flows.settings.params import Params

P = ParamSpec("P")
T = TypeVar("T")


def loading() -> AbstractContextManager[None]:
    """Show that a command loads what it needs."""
    return working("loading libraries")


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


def checkpoint(params: "Params", workspace: Workspace) -> Path:
    """Return the folder of the model; a model without a folder is written into the workspace."""
    from tasks.prepare import prepare_model

    if Path(params.model.name).is_dir():
        return Path(params.model.name).resolve()
    prepare_model(params.model.name, params.model.revision, dtype=params.model.dtype, folder=workspace.dense)
    return workspace.dense
