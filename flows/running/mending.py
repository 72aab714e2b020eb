"""Remove what a killed run or a broken disk left damaged in the repository, before the next run."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from avss_core.files.writing import sweep

PAUSE = 1.0
"""Seconds until a file that another command is writing is whole."""

_STAMPS = Path(".prefect", "cache-objects.json")
"""Size and time of each object of DVC's cache at its last check."""

ROOM = 1 << 20
"""Free bytes that a run needs on the disk of `.dvc`; DVC's own message does not name the disk."""


def check_room(root: Path) -> None:
    """Raise OSError if the disk of `.dvc` is full."""
    place = root / ".dvc"
    if shutil.disk_usage(place).free < ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))


def mend(root: Path) -> Iterator[str]:
    """Remove half-written files of a repository in which nothing runs, and yield a line for each."""
    for path in sweep(root / "data", root / "reports"):
        yield f"removed {path.relative_to(root)}, which a killed run had left half written"
    lock = root / "dvc.lock"
    if _stays(lock, _whole_lock):
        lock.unlink()
        yield "removed dvc.lock, which was cut off: its stages run again, on units from the cache"
    waiting = root / ".dvc" / "tmp" / "rwlock"
    if _stays(waiting, _is_json):
        waiting.unlink()
        yield f"removed {waiting.relative_to(root)}, which was cut off"


def drop_damaged_objects(root: Path) -> Iterator[str]:
    """Remove objects of DVC's cache with another digest than in their name, and yield a line for each.

    DVC trusts its cache. An object is read again only if its size or time has changed.
    """
    objects = root / ".dvc" / "cache" / "files" / "md5"
    record = root / _STAMPS
    known = _read_stamps(record)
    stamps: dict[str, list[int]] = {}
    for path in sorted(objects.glob("??/*")):
        name, status = f"{path.parent.name}{path.name}", path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        if known.get(name) != stamp and not _has_digest(path, name.removesuffix(".dir")):
            path.unlink()
            what = "half written" if path.suffix == ".tmp" else "damaged: what needs it runs again"
            yield f"removed {path.relative_to(root)}, which was {what}"
        else:
            stamps[name] = stamp
    if stamps != known:
        with contextlib.suppress(OSError):  # the objects are then read once more
            record.write_text(json.dumps(stamps), encoding="utf-8")


def _has_digest(path: Path, digest: str) -> bool:
    """Tell whether a file has this MD5 digest."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == digest


def _stays(path: Path, whole: Callable[[Path], bool]) -> bool:
    """Tell whether a file is cut off and stays so, since another command may be writing it."""
    if not path.is_file() or whole(path):
        return False
    time.sleep(PAUSE)
    return path.is_file() and not whole(path)


def _whole_lock(path: Path) -> bool:
    """Tell whether dvc.lock is valid YAML with stages, each with its digests."""
    try:
        values = YAML(typ="safe").load(path)
    except (YAMLError, UnicodeDecodeError):
        return False
    if not isinstance(values, dict) or not isinstance(values.get("stages"), dict):
        return False
    return all(isinstance(stage, dict) and "outs" in stage for stage in values["stages"].values())


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def _read_stamps(path: Path) -> dict[str, list[int]]:
    """Return the stamps of the last check; empty if the file is missing or damaged."""
    with contextlib.suppress(OSError, ValueError):
        stamps = json.loads(path.read_text(encoding="utf-8"))
        return stamps if isinstance(stamps, dict) else {}
    return {}
