"""Rows in which a folder's disk is full or read-only; Linux, as root."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.faults.clone import forget_stages, outputs
from benchmarks.faults.damage import removed
from benchmarks.faults.rows import UNITS, Place, RedError, Row, SkipError, last_line

_WORDS = (os.strerror(errno.ENOSPC), "database or disk is full", os.strerror(errno.EROFS))
"""Messages of the system and of SQLite about a full and about a read-only disk."""


def small_disk(folder: Path, place: Path, room: int) -> None:
    """Move a folder to a disk of its own, mounted from `place`, with so many bytes left."""
    place.mkdir()
    _mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place))
    subprocess.run(["cp", "-a", f"{folder}/.", str(place)], check=True)
    _mount("--bind", str(place), str(folder))
    free = os.statvfs(place)
    with (place / "filling").open("wb") as filling:
        filling.truncate(0)
        left = free.f_bavail * free.f_frsize - room
        while left > 0:
            left -= filling.write(b"\0" * min(left, 1 << 20))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only."""
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,ro,bind", str(folder))
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def unmount(folder: Path) -> None:
    """Unmount all that rows have mounted in and beside a clone."""
    if not Path("/proc/mounts").is_file():
        return
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for path in sorted(mounted, reverse=True):
        if path == str(folder) or path.startswith((f"{folder}/", f"{folder}.disk")):
            subprocess.run(["umount", "-l", path], capture_output=True, check=False)


def _mount(*arguments: str) -> None:
    """Call mount, or skip the row if this user or machine cannot."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise SkipError("only root on Linux can mount")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SkipError(f"cannot mount here: {done.stderr.strip()}")


def full(name: str, stage: str, room: int, *, harmless: bool = False) -> Row:
    """Return a row in which a stage runs while a folder's disk has so many bytes left.

    Args:
        name: of the folder.
        stage: which runs.
        room: bytes.
        harmless: whether the run may end well all the same, as without a cache.
    """

    def act(place: Place) -> str:
        for path in outputs(place.folder, stage):
            removed(path)  # as DVC does before the stage runs, which would make room
        forget_stages(place.folder, (stage,), UNITS.get(stage, ()))
        small_disk(place.folder / name, disk := place.folder.with_name(f"{place.folder.name}.disk"), room)
        said = _refused(place, harmless)
        (disk / "filling").unlink()
        return said

    return Row(f"{stage}: the disk of {'everything' if name == '.' else name} is full", act)


def locked(name: str, stage: str) -> Row:
    """Return a row in which a stage runs while a folder is read-only."""

    def act(place: Place) -> str:
        forget_stages(place.folder, (stage,), UNITS.get(stage, ()))
        with read_only(place.folder / name):
            return _refused(place)

    return Row(f"{stage}: {name} is read-only", act)


def _refused(place: Place, harmless: bool = False) -> str:
    """Run, and check that the run ends with an error that says why."""
    ran = place.run()
    if ran.code == 0 and harmless:
        return "exit code 0: what could not be cached was worked out all the same"
    if ran.code == 0:
        raise RedError("the run ended with code 0")
    said = [line.strip() for line in ran.output.splitlines() if any(word in line for word in _WORDS)]
    if not said:
        raise RedError(f"exit code {ran.code}, and no word of the disk: {last_line(ran)}")
    return f"exit code {ran.code}: {said[-1][:160]}"


DISKS = (
    full("data", "collect", 4096),
    full("data", "prune", 8192),
    full("data", "heal", 4096),
    full(".prefect", "evaluate", 4096, harmless=True),
    full(".dvc", "localize", 0),
    full(".", "report", 1 << 21),
    locked("data", "score"),
    locked(".prefect", "collect"),
    locked(".dvc", "localize"),
    locked(".", "prune"),
)
