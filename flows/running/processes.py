"""The processes of a pipeline: found by the name that they inherit, ended gently first."""

import os
from collections.abc import Collection, Iterable

import psutil

PATIENCE = 20.0
"""Seconds for a stage to leave nothing half written before it is killed."""


def of_pipeline(variable: str, name: str) -> list[psutil.Process]:
    """Return the processes that were started with the environment variable set to a name, but this one."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(variable) == name:
                found.append(process)
        except (psutil.Error, OSError):  # another user's, or gone
            continue
    return found


def end_all(variable: str, name: str) -> None:
    """End the processes of a pipeline, its Prefect server last: a stage tells it how it ended."""
    found = of_pipeline(variable, name)
    servers = [process for process in found if _is_server(process)]
    end([process for process in found if process not in servers])
    end(servers)


def end(processes: Iterable[psutil.Process], patience: float = PATIENCE) -> None:
    """Ask processes to stop, and kill those that still run after a while."""
    alive = [process for process in processes if process.is_running()]
    for signalled in (psutil.Process.terminate, psutil.Process.kill):
        for process in alive:
            try:
                signalled(process)
            except psutil.NoSuchProcess:
                continue
        alive = wait(alive, patience)


def wait(processes: Collection[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return the processes that still run after so many seconds, or earlier where none does."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return list(alive)


def _is_server(process: psutil.Process) -> bool:
    try:
        return "prefect" in process.cmdline()
    except psutil.Error:
        return False
