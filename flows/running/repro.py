"""`make repro`: check the parameters, then `dvc repro` under one Prefect server and one MLflow parent run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from avss_core.cli.errors import readable_errors, whole_output
from avss_core.display.steps import working
from flows import PROJECT, ROOT
from flows.running.mending import check_room, drop_damaged_objects, mend
from flows.running.workspace import Workspace

_DVC = [sys.executable, "-m", "dvc"]


@dataclass(frozen=True)
class RunRecord:
    """The name of the pipeline that runs in a repository; it stays behind if that is killed."""

    path: Path

    @property
    def name(self) -> str | None:
        """The pipeline that was noted last and did not end by itself."""
        try:
            return self.path.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def note(self, name: str) -> None:
        """Write the name of a pipeline; it starts with the number of its process."""
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
    """Return the message for a repository that another run holds."""
    name = record.name
    if name is None:
        return f"another `make repro` is just starting or checking in {home}; try again when it has ended"
    pid = name.partition("-")[0]
    since = time.strftime("%H:%M:%S", time.localtime(record.path.stat().st_mtime))
    return (
        f"another `make repro` (process {pid}, since {since}) runs in {home}; wait for it, or end it with "
        f"`kill {pid}`"
    )


def repro(arguments: list[str]) -> int:
    """Run `dvc repro` with arguments in the repository, and return its exit code.

    Raises:
        BlockingIOError: another one runs in the repository.
        OSError: the disk is full, or DVC cannot work in the folder.
    """
    check_room(PROJECT)
    check_repository(PROJECT)
    with only_run(PROJECT) as record:
        if record.name is not None:
            _clear(record.name)
        for line in mend(PROJECT):
            print(line, flush=True)
        with working("asking DVC what has changed"):
            current = not arguments and up_to_date()
        if current:
            print("Nothing has changed: every stage is up to date. The report is reports/index.html.")
            return 0
        _run(arguments, record)
    for line in measured_speed(Workspace(PROJECT)):
        print(line)
    print("The report is reports/index.html; `make ui` shows the experiments.")
    return 0


def check_repository(root: Path) -> None:
    """Refuse a folder in which DVC would fail after the first stage.

    Raises:
        NotADirectoryError: results lie behind a link that leads out, or there is no git repository.
    """
    for folder in (root / "data", root / "reports"):
        if not folder.resolve().is_relative_to(root.resolve()):
            raise NotADirectoryError(
                f"{folder} is a link to {folder.resolve()}, and DVC keeps no results outside of the "
                "repository: make it a folder. On another disk may lie the whole repository, or DVC's cache "
                "(`dvc cache dir --local DIR`, `dvc config --local cache.type symlink`); `avss run --output "
                "DIR` writes anywhere"
            )
    if any((folder / ".git").exists() for folder in (root, *root.resolve().parents)):
        return
    without = subprocess.run(
        [*_DVC, "config", "core.no_scm"], cwd=root, capture_output=True, text=True, check=False
    )
    if without.stdout.strip().lower() != "true":
        raise NotADirectoryError(
            f"{root} is not a git repository, in which DVC works: `git init` makes one, or `dvc config "
            "--local core.no_scm true` lets DVC do without; `avss run --output DIR` needs neither"
        )


def _run(arguments: list[str], record: RunRecord) -> None:
    """Run `dvc repro`; no process that it starts outlives this one."""
    # Imported here, so that a run with nothing to do takes only seconds.
    from avss_core.settings.masking import masked
    from avss_core.settings.reading import load_params
    from flows.running.keeper import end, keeper, of_pipeline, wait
    from flows.running.server import prefect_server
    from tasks.history.run_store import check_store
    from tasks.history.tracking import PIPELINE_VARIABLE, pipeline_run

    load_params(PROJECT / "params.yaml")
    check_store(ROOT)
    for line in drop_damaged_objects(PROJECT):
        print(line, flush=True)
    with pipeline_run(ROOT, PROJECT):
        name = os.environ[PIPELINE_VARIABLE]
        record.note(name)
        with keeper(PIPELINE_VARIABLE, name), prefect_server() as address:
            print(
                f"Prefect server at {masked(address.removesuffix('/api'))} while the pipeline runs",
                flush=True,
            )
            before = set(of_pipeline(PIPELINE_VARIABLE, name))
            dvc = subprocess.Popen([*_DVC, "repro", *arguments], cwd=PROJECT)
            patience = 0.0
            try:
                code = dvc.wait()
            except KeyboardInterrupt:
                # Ctrl-C has reached the stage too, which is about to end.
                patience = 20.0
                raise
            finally:
                # A killed dvc leaves its stage behind.
                left = set(of_pipeline(PIPELINE_VARIABLE, name)) - before
                end(wait(left, patience))
        if code:
            raise SystemExit(code if code > 0 else 128 - code)


def _clear(killed: str) -> None:
    """End the remaining processes of a killed pipeline, and its record in the history."""
    from flows.running.keeper import end_all
    from tasks.history.tracking import PIPELINE_VARIABLE, end_pipeline

    print("The run before this one was killed: going on where it stopped", flush=True)
    end_all(PIPELINE_VARIABLE, killed)
    end_pipeline(ROOT, killed, "KILLED", PROJECT)


def measured_speed(workspace: Workspace) -> list[str]:
    """Return the lines about the speed of the pruned checkpoint; none if another one was timed."""
    from avss_core.files.digests import digest_path
    from avss_core.files.writing import read_json
    from avss_core.jobs.speed_wording import speed_lines

    certificate = workspace.pruned / "certificate.json"
    if not (workspace.times.is_file() and certificate.is_file()):
        return []
    record = read_json(workspace.times)
    return speed_lines(record) if record["checkpoint"] == digest_path(certificate) else []


def up_to_date() -> bool:
    """Tell whether DVC has nothing to do, without starting a server."""
    if not (PROJECT / "dvc.lock").is_file():
        return False
    status = subprocess.run(
        [*_DVC, "status", "--json"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    return status.returncode == 0 and status.stdout.strip().splitlines()[-1:] == ["{}"]


def _terminated(_number: int, _frame: FrameType | None) -> None:
    """End as after an error, so that the processes it started end too."""
    raise SystemExit(143)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    with readable_errors(), whole_output():
        sys.exit(repro(sys.argv[1:]))
