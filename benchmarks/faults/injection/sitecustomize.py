"""Strike a process of the pipeline at an exact point. Python imports this where its folder is on PYTHONPATH.

AVSS_FAULT is "PROGRAM|EVENT|PATTERN|NUMBER|SIGNAL|VICTIM": when the program (a stage, `dvc` or `repro`) comes
to the NUMBER-th audit event of that kind (`open` for reading, `write`, `rename` to, `rmtree`, `mkdtemp`) with
a path that matches the pattern, the signal goes to the victim: `self`, `dvc`, `repro`, `server`, `all` (which
are `repro` and its keeper), or the `group` of the terminal. A program that strikes one above it waits then,
so that it is caught right there.
"""

import fnmatch
import os
import signal
import sys
import time
from typing import Any

_WAIT = 20
"""Seconds that a program stays where it is, at most, until its victim is gone; and `_MORE` after that."""
_MORE = 3


def _program() -> str:
    """Return which program of the pipeline this process is."""
    words = sys.orig_argv[1:]
    match words:
        case ["-m", "flows", stage, *_]:
            return stage
        case ["-m", "dvc", *_]:
            return "dvc"
        case ["-m", "flows.running.repro", *_]:
            return "repro"
        case _:
            return ""


def _kind(event: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """Return the event's own name for what happens, and the path that it happens to."""
    match event, arguments:
        case "open", [path, mode, flags]:
            written = flags & (os.O_WRONLY | os.O_RDWR) if isinstance(flags, int) else "w" in str(mode)
            return "write" if written else "open", path
        case "os.rename", [_, target, *_]:
            return "rename", target
        case (("shutil.rmtree" | "tempfile.mkdtemp"), [path, *_]):
            return event.partition(".")[2], path
        case _:
            return "", ""


def _victims(victim: str) -> list[int]:
    """Return the numbers of the processes to strike."""
    if victim == "self":
        return [os.getpid()]
    import psutil

    commands = {
        "dvc": ["-m", "dvc"],
        "repro": ["-m", "flows.running.repro"],
        "server": ["-m", "prefect"],
    }
    wanted = [commands[victim]] if victim in commands else [commands["repro"], ["-m", "flows.running.keeper"]]
    home = os.getcwd()
    pids = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            if any(words[1:3] == each for each in wanted) and process.cwd() == home:
                pids.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return pids


def _strike(name: str, victim: str) -> None:
    """Send the signal, and stay here until it has done its work."""
    fired = os.environ["AVSS_FAULT_FIRED"]
    with open(f"{fired}.part", "w") as part:
        part.write(f"{_program()} {os.getpid()}")
    os.replace(f"{fired}.part", fired)
    number = getattr(signal, f"SIG{name}")
    if victim == "group":
        os.killpg(0, number)
        return
    struck = _victims(victim)
    for pid in struck:
        os.kill(pid, number)
    if victim not in {"self", "server"}:
        end = time.monotonic() + _WAIT
        while time.monotonic() < end and any(_runs(pid) for pid in struck):
            time.sleep(0.1)  # a signal to this process comes through here
        time.sleep(_MORE)


def _runs(pid: int) -> bool:
    """Return whether a process has not ended."""
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _watch(fault: str) -> None:
    """Count events, and strike once."""
    program, kind, pattern, count, name, victim = fault.split("|")
    if _program() != program:
        return
    left = [int(count)]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if left[0] <= 0 or event not in _EVENTS:
            return
        happening, path = _kind(event, arguments)
        if happening == kind and fnmatch.fnmatch(
            os.fspath(path) if not isinstance(path, int) else "", pattern
        ):
            left[0] -= 1
            if left[0] == 0:
                _strike(name, victim)

    sys.addaudithook(hook)


_EVENTS = ("open", "os.rename", "shutil.rmtree", "tempfile.mkdtemp")

if os.environ.get("AVSS_FAULT"):
    _watch(os.environ["AVSS_FAULT"])
