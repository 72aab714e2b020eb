"""What every command that works on one model shares: a workspace that is gone afterwards."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.running.workspace import Workspace
from flows.settings.params import Params
from tasks.prepare import prepare_model


@contextmanager
def scratch() -> Iterator[Workspace]:
    """Yield a workspace that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="avss-") as folder:
        yield Workspace(Path(folder))


def checkpoint(params: Params, workspace: Workspace) -> Path:
    """Return the folder of the model; one that is not a folder yet becomes one in the workspace."""
    if Path(params.model.name).is_dir():
        return Path(params.model.name).resolve()
    prepare_model(params.model.name, params.model.revision, dtype=params.model.dtype, folder=workspace.dense)
    return workspace.dense
