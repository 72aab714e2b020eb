"""The pipeline as the command line sees it: reached by name alone, since the core imports nothing of it."""

import importlib
from importlib.util import find_spec
from typing import Any

from avss_core.settings.places import REPOSITORY

NEEDED = ("prefect", "mlflow", "dvc")
"""Packages without which the pipeline's commands do not run."""


def is_installed() -> bool:
    """Tell whether this is the repository, with all that the pipeline needs."""
    return REPOSITORY is not None and all(map(find_spec, NEEDED))


def part(module: str, what: str) -> Any:
    """Return a module of the pipeline.

    Args:
        module: its name, such as `tasks.history.sweep_runs`.
        what: the command or option that needs it.

    Raises:
        ImportError: the pipeline is not installed.
    """
    if not is_installed():
        raise ImportError(
            f"{what} belongs to the pipeline, which is not installed here: run `make install` in a "
            "clone of the repository of AVSS, and then its .venv/bin/avss"
        )
    return importlib.import_module(module)
