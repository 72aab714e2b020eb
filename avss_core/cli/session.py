"""What a command works in: a bar, a scratch folder, a model as a folder, and results that are kept.

Heavy modules are imported when a command runs, so that the help does not wait for them.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from avss_core.display.steps import working
from avss_core.settings.places import kept_results

if TYPE_CHECKING:
    from avss_core.caching.kept_results import Run
    from avss_core.data.data_records import Manifest
    from avss_core.settings.params import Params


def loading() -> AbstractContextManager[None]:
    """Show that a command loads what it needs."""
    return working("loading libraries")


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="avss-") as folder:
        yield Path(folder)


def say_left_out(manifest: "Manifest") -> None:
    """Warn on standard error of question sets that lost rows."""
    from avss_core.data.left_out import rows_left_out

    for sentence in rows_left_out(manifest["sets"]):
        print(f"warning: {sentence}", file=sys.stderr, flush=True)


def kept(params: "Params") -> "Run":
    """Return what runs units in this process, and keeps their results for the next command.

    Only the number of threads is read of `execution`: processes of an engine are for the pipeline.
    """
    from avss_core.caching.kept_results import run_kept

    options = params.execution
    alone = options.engine != "threads" or params.spread
    return run_kept(kept_results(), 1 if alone else options.workers)


def keep_settings(params: "Params", out: Path) -> None:
    """Write the settings of a command beside the checkpoint that it made, as a file for `--params`."""
    from avss_core.files.writing import write_text
    from avss_core.settings.reading import params_text

    write_text(out / "params.yaml", params_text(params))


def checkpoint(params: "Params", folder: Path) -> Path:
    """Return the folder of the model; a model without a folder is written into the given one."""
    from avss_core.jobs.preparation import prepare_model

    model = params.model
    if Path(model.name).is_dir():
        return Path(model.name).resolve()
    prepare_model(model.name, model.revision, dtype=model.dtype, folder=folder)
    return folder
