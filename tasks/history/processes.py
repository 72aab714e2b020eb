"""The process that a run belongs to: whether it still runs, and what it does when it is terminated."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a process that SIGTERM ended."""


def owner_label(pid: int) -> str:
    """Return "pid:start time:machine" of a process of this machine."""
    return f"{pid}:{psutil.Process(pid).create_time()}:{socket.gethostname()}"


def alive(owner: str) -> bool:
    """Tell whether the process "pid:start time:machine" may still run.

    That is unknown, and so possible, for a process of another machine or with a label of another form.
    """
    pid, started, machine = f"{owner}::".split(":")[:3]
    if machine != socket.gethostname():
        return True
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) < 1
    except psutil.NoSuchProcess:
        return False


def dvc_pipeline() -> str | None:
    """Return a name for the `dvc repro` that this process runs under, None without one."""
    for process in psutil.Process().parents():
        if "DVC_ROOT" in os.environ and any(Path(part).name == "dvc" for part in process.cmdline()[:3]):
            return f"{process.pid}-{process.create_time()}"
    return None


def pipeline_process(pipeline: str) -> int:
    """Return the process of a pipeline's parent run: the number that the pipeline's name starts with."""
    pid = pipeline.partition("-")[0]
    return int(pid) if pid.isdigit() and psutil.pid_exists(int(pid)) else os.getpid()


@contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """Turn SIGTERM into an exception inside the context, so that the state of the run is written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
