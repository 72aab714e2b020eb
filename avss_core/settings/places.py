"""Where the project's own files are, and where commands leave what they keep."""

import os
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
"""The repository, or the folder that the packages are installed in."""

REPOSITORY = SOURCE if (SOURCE / "dvc.yaml").is_file() and (SOURCE / "flows").is_dir() else None
"""The repository with the pipeline; None if the core is installed alone."""

ROOT = Path(os.environ.get("AVSS_HOME") or REPOSITORY or Path.cwd()).resolve()
"""Where caches and history live: AVSS_HOME, else the repository, else the working folder."""

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
