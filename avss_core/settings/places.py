"""Where the project's own files are, and where commands leave what they keep."""

import os
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
"""The repository, or the folder that the packages are installed in."""

REPOSITORY = SOURCE if (SOURCE / "dvc.yaml").is_file() and (SOURCE / "flows").is_dir() else None
"""The repository with the pipeline; None if the core is installed alone."""

PROJECT = (REPOSITORY or Path.cwd()).resolve()
"""Where a stage reads its settings and writes, and `data.path` starts, whatever AVSS_HOME says: the
repository, else the working folder."""


def _without_experiment(project: Path) -> Path:
    """Return the repository of which `dvc exp run --temp` or `--queue` has made a copy, below its `.dvc`."""
    for folder in project.parents:
        if folder.name == "exps" and folder.parent.name == "tmp" and folder.parent.parent.name == ".dvc":
            return folder.parent.parent.parent
    return project


ROOT = Path(os.environ.get("AVSS_HOME") or _without_experiment(PROJECT)).resolve()
"""Where caches and history live: AVSS_HOME, else the repository (DVC removes the copy of an experiment), else
the working folder."""

SAMPLE = SOURCE / ("" if REPOSITORY else "avss_core") / "data" / "sample"
"""The sample that comes with the project."""

DEFAULT_PARAMS = (REPOSITORY or Path(__file__).resolve().parent) / "params.yaml"
"""Every setting: the repository's own file, or the copy of it that is installed with the core."""


def kept_results() -> Path:
    """Return the folder in which commands keep the results of units: below AVSS_HOME or the user's cache."""
    home = os.environ.get("AVSS_HOME")
    if home:
        return Path(home).resolve() / "results"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "avss"
