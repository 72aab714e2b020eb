"""End a pipeline with all its processes when its own process was killed.

`python -m flows.running.keeper`, which `keeper` starts, waits at a pipe. The system closes that pipe however
the pipeline ends, a SIGKILL included, on every Unix. If it has not read "done" by then, it ends dvc, the
stage and the Prefect server of that pipeline.
"""

import os
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress

import psutil

_DONE = b"done\n"

PATIENCE = 20.0
"""Seconds for a stage to leave nothing half written before it is killed."""


@contextmanager
def keeper(variable: str, name: str) -> Iterator[None]:
    """End the processes of a pipeline if this process dies inside the context.

    Args:
        variable: environment variable by which they are known.
        name: its value.
    """
    command = [sys.executable, "-m", "flows.running.keeper", variable, name]
    # A session of its own, so that Ctrl-C does not reach it.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        with suppress(BrokenPipeError):
            process.communicate(_DONE)


def of_pipeline(variable: str, name: str) -> list[psutil.Process]:
    """Return the other processes that were started with the environment variable set to a name."""
    processes = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # another user's, or gone
            if process.pid != os.getpid() and process.environ().get(variable) == name:
                processes.append(process)
    return processes


def end_all(variable: str, name: str) -> None:
    """End the processes of a pipeline, its Prefect server last: a stage reports to it how it ended."""
    processes = of_pipeline(variable, name)
    servers = [process for process in processes if _is_server(process)]
    end([process for process in processes if process not in servers])
    end(servers)


def end(processes: Iterable[psutil.Process], patience: float = PATIENCE) -> None:
    """Ask processes to stop, and kill those that still run after `patience` seconds."""
    alive = [process for process in processes if process.is_running()]
    for signalled in (psutil.Process.terminate, psutil.Process.kill):
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                signalled(process)
        alive = wait(alive, patience)


def wait(processes: Collection[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait for processes to end, at most so many seconds, and return those that still run."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return list(alive)


def _is_server(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "prefect" in process.cmdline()
    return False


def main(variable: str, name: str) -> None:
    """Wait until the pipeline ends, and end what is left of it unless it said that it is done."""
    if sys.stdin.buffer.read() != _DONE:
        end_all(variable, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
