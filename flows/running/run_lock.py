"""One `make repro` at a time in a repository, which knows whether the one before it was killed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout


@dataclass(frozen=True)
class RunRecord:
    """The name of the pipeline that runs in a repository, which stays behind where that is killed."""

    path: Path

    @property
    def name(self) -> str | None:
        """The pipeline that was noted last and has not ended."""
        try:
            return self.path.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def note(self, name: str) -> None:
        """Write the name of a pipeline, whose first part is the number of its process."""
        self.path.write_text(name, encoding="utf-8")


@contextmanager
def only_run(home: Path) -> Iterator[RunRecord]:
    """Hold the repository for one pipeline; the system lets go of it however this process ends.

    Args:
        home: the repository; the lock and the record lie in its `.prefect`.

    Raises:
        BlockingIOError: another run holds the repository; names its process.
        OSError: nothing can be written there.
    """
    folder = home / ".prefect"
    record = RunRecord(folder / "running")
    lock = FileLock(folder / "repro.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise BlockingIOError(_busy(record, home)) from None
    except OSError as error:
        raise OSError(
            f"cannot write {folder}: {error.strerror}; make it writable, or free some space"
        ) from error
    try:
        yield record
    finally:
        record.path.unlink(missing_ok=True)
        lock.release()


def _busy(record: RunRecord, home: Path) -> str:
    """Return who holds the repository, and what to do."""
    name = record.name
    if name is None:
        return f"another `make repro` is just starting or checking in {home}; try again when it has ended"
    pid = name.partition("-")[0]
    since = time.strftime("%H:%M:%S", time.localtime(record.path.stat().st_mtime))
    return (
        f"another `make repro` (process {pid}, since {since}) runs in {home}; wait for it, or end it with "
        f"`kill {pid}`"
    )
