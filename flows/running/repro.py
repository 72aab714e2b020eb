"""`make repro`: check the parameters, then `dvc repro` under one Prefect server and one MLflow parent run."""

import os
import signal
import subprocess
import sys
from types import FrameType

from flows import ROOT
from flows.running.errors import readable_errors
from flows.running.mending import check_room, drop_damaged_objects, mend
from flows.running.run_lock import RunRecord, only_run
from flows.running.workspace import Workspace
from tasks.progress.steps import working

_DVC = [sys.executable, "-m", "dvc"]


def repro(arguments: list[str]) -> int:
    """Run `dvc repro` with arguments in the repository, and return its exit code.

    Raises:
        BlockingIOError: another one runs in the repository.
        OSError: the disk is full.
    """
    check_room(ROOT)
    with only_run(ROOT) as record:
        if record.name is not None:
            _clear(record.name)
        for line in mend(ROOT):
            print(line, flush=True)
        with working("asking DVC what has changed"):
            current = not arguments and up_to_date()
        if current:
            print("Nothing has changed: every stage is up to date. The report is reports/index.html.")
            return 0
        _run(arguments, record)
    for line in measured_speed(Workspace(ROOT)):
        print(line)
    print("The report is reports/index.html; `make ui` shows the experiments.")
    return 0


def _run(arguments: list[str], record: RunRecord) -> None:
    """Run `dvc repro`; nothing that it started outlives this process."""
    # Imported here, so that a run with nothing to do takes seconds.
    from flows.running.keeper import keeper
    from flows.running.processes import end, of_pipeline, wait
    from flows.running.server import prefect_server
    from flows.settings.reading import load_params
    from tasks.history.masking import masked
    from tasks.history.tracking import PIPELINE_VARIABLE, pipeline_run

    load_params(ROOT / "params.yaml")
    for line in drop_damaged_objects(ROOT):
        print(line, flush=True)
    with pipeline_run(ROOT):
        name = os.environ[PIPELINE_VARIABLE]
        record.note(name)
        with keeper(PIPELINE_VARIABLE, name), prefect_server() as address:
            print(
                f"Prefect server at {masked(address.removesuffix('/api'))} while the pipeline runs",
                flush=True,
            )
            before = set(of_pipeline(PIPELINE_VARIABLE, name))
            dvc = subprocess.Popen([*_DVC, "repro", *arguments], cwd=ROOT)
            patience = 0.0
            try:
                code = dvc.wait()
            except KeyboardInterrupt:
                # Ctrl-C has reached the stage as well, which is about to end by itself.
                patience = 20.0
                raise
            finally:
                # A killed dvc leaves its stage behind.
                left = set(of_pipeline(PIPELINE_VARIABLE, name)) - before
                end(wait(left, patience))
        if code:
            raise SystemExit(code if code > 0 else 128 - code)


def _clear(killed: str) -> None:
    """End what is left of a pipeline that was killed, and its record in the history."""
    from flows.running.processes import end_all
    from tasks.history.tracking import PIPELINE_VARIABLE, end_pipeline

    print("The run before this one was killed: going on where it stopped", flush=True)
    end_all(PIPELINE_VARIABLE, killed)
    end_pipeline(ROOT, killed, "KILLED")


def measured_speed(workspace: Workspace) -> list[str]:
    """Return what this machine's times say of the pruned checkpoint, nothing where they are of another."""
    from avss_core.files.digests import digest_path
    from avss_core.files.writing import read_json
    from tasks.report.words.speed_wording import speed_lines

    certificate = workspace.pruned / "certificate.json"
    if not (workspace.times.is_file() and certificate.is_file()):
        return []
    record = read_json(workspace.times)
    return speed_lines(record) if record["checkpoint"] == digest_path(certificate) else []


def up_to_date() -> bool:
    """Tell whether DVC finds nothing to do, without starting a server."""
    if not (ROOT / "dvc.lock").is_file():
        return False
    status = subprocess.run(
        [*_DVC, "status", "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return status.returncode == 0 and status.stdout.strip().splitlines()[-1:] == ["{}"]


def _terminated(_number: int, _frame: FrameType | None) -> None:
    """End as after an error, so that all that was started ends too."""
    raise SystemExit(143)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    with readable_errors():
        sys.exit(repro(sys.argv[1:]))
