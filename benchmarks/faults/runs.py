"""Commands in clones of the project, with or without a fault."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

INJECTION = Path(__file__).resolve().parent / "injection"


@dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    code: int
    output: str


class Started(NamedTuple):
    """A command that runs, and the file of its output."""

    process: subprocess.Popen[bytes]
    log: Path


def fired(folder: Path) -> Path:
    """Return the file beside a clone that says that its fault has happened."""
    return folder.with_name(f"{folder.name}.fired")


def environment(folder: Path, fault: str = "", server: str | None = None) -> dict[str, str]:
    """Return the environment of commands in a clone.

    Args:
        folder: of the clone.
        fault: what to do where, as in injection/sitecustomize.py.
        server: address of a Prefect server for the stages; if None, the pipeline starts its own.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AVSS_", "PREFECT_", "MLFLOW_TRACKING"))
    }
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(INJECTION), str(folder)]),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder.parent / "site-cache"),
        **({"AVSS_FAULT": fault, "AVSS_FAULT_FIRED": str(fired(folder))} if fault else {}),
        **({"PREFECT_API_URL": server} if server else {}),
    }


def start(
    folder: Path, *arguments: str, fault: str = "", server: str | None = None, **variables: str
) -> Started:
    """Start `python ARGUMENTS` in a clone as the leader of a process group; its output goes to a file."""
    log = folder.with_name(f"{folder.name}.output-{time.monotonic_ns()}")
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment(folder, fault, server) | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Started(process, log)


def finish(started: Started, seconds: float = 600) -> Ran:
    """Wait for a command, and return how it ended.

    Raises:
        TimeoutError: it takes too long; it is ended.
    """
    process, log = started
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise TimeoutError(f"no end within {seconds:.0f} s") from None
    return Ran(process.returncode, log.read_text(encoding="utf-8", errors="replace"))


def repro(folder: Path, *arguments: str, fault: str = "", server: str | None = None) -> Ran:
    """Run what `make repro` runs, in a clone."""
    return finish(start(folder, "-m", "flows.running.repro", *arguments, fault=fault, server=server))


def processes_in(folder: Path) -> list[psutil.Process]:
    """Return the processes whose working folder lies in a clone."""
    processes = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except (psutil.Error, OSError):
            continue
    return processes
