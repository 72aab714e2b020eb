"""Names of what is being written, by which the next process knows what a killed one left half written."""

import os
import re
import shutil
import tempfile
from pathlib import Path

import psutil

_PART = re.compile(r"\..+\.(\d+)(?:-\w+)?\.part")


def part_name(name: str) -> str:
    """Return the name under which this process writes what will be called `name`: hidden, with its number."""
    return f".{name}.{os.getpid()}.part"


def part_folder(target: Path) -> Path:
    """Make a new folder beside `target` that is to become it, named as by `part_name`."""
    return Path(tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}-", suffix=".part", dir=target.parent))


def sweep(*folders: Path) -> list[Path]:
    """Remove what processes that are gone left half written; return its paths.

    Args:
        folders: looked through however deep; what was to become one of them lies beside it.
    """
    found = [
        path
        for folder in folders
        for path in sorted([*folder.parent.glob(f".{folder.name}.*.part"), *folder.rglob(".*.part")])
        if (match := _PART.fullmatch(path.name)) and not psutil.pid_exists(int(match[1]))
    ]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return found
