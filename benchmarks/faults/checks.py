"""Checks of a clone after a fault and one plain run."""

import re
import sqlite3
import time
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.faults.runs import Ran, processes_in

VARIES = ("data/speed.json", "data/times/")
"""Files with times, which differ between two undisturbed runs."""

APART = (
    ".git/*",
    ".dvc/tmp/*",
    ".dvc/cache/*",
    ".prefect/*",
    "mlartifacts/*",
    "mlflow.db*",
    "*/__pycache__/*",
    "data/training/*",
)
"""Files that may differ from run to run; `UNFINISHED` must not be among them."""

UNFINISHED = re.compile(r".*(\.part|\.tmp|~)|running")


def problems(folder: Path, template: Path, ran: Ran) -> list[str]:
    """Return what is wrong with a clone after a plain run, compared with an undisturbed one."""
    return [
        *run_problems(ran),
        *digest_problems(folder, template),
        *file_problems(folder, template),
        *unfinished(folder),
        *history_problems(folder),
        *process_problems(folder),
    ]


def run_problems(ran: Ran) -> list[str]:
    """Return what is wrong with the end of the plain run."""
    if ran.code:
        last = ran.output.strip().splitlines()[-1:] or [""]
        return [f"the plain run ended with code {ran.code}: {last[0]}"]
    return ["the plain run shows a traceback"] if "Traceback" in ran.output else []


def digest_problems(folder: Path, template: Path) -> list[str]:
    """Return the stages whose entry in dvc.lock differs."""
    own, expected = (_stages(each / "dvc.lock") for each in (folder, template))
    return [f"dvc.lock differs at {name}" for name in sorted(own.keys() | expected.keys())
            if own.get(name) != expected.get(name)]  # fmt: skip


def file_problems(folder: Path, template: Path) -> list[str]:
    """Return files that are missing, left over or different, metrics among them."""
    own, expected = tree(folder), tree(template)
    wrong = [f"{name} is left over" for name in sorted(own - expected)]
    wrong += [f"{name} is missing" for name in sorted(expected - own)]
    for name in sorted(own & expected):
        outputs = name.startswith(("data/", "reports/")) and not name.startswith(VARIES)
        if outputs and (folder / name).read_bytes() != (template / name).read_bytes():
            wrong.append(f"{name} differs")
    return wrong


def unfinished(folder: Path) -> list[str]:
    """Return half-written files, those of the caches too."""
    places = [folder / name for name in ("data", "reports", ".prefect", ".dvc", "mlartifacts")]
    return [
        f"{path.relative_to(folder)} is half written"
        for place in places
        for path in sorted(place.rglob("*"))
        if UNFINISHED.fullmatch(path.name) and path.name != "tmp"
    ]


def history_problems(folder: Path) -> list[str]:
    """Return the runs of the history with status RUNNING."""
    database = folder / "mlflow.db"
    if not database.is_file():
        return ["there is no mlflow.db"]
    with closing(sqlite3.connect(database)) as history:
        running = history.execute("SELECT name FROM runs WHERE status = 'RUNNING'").fetchall()
    return [f"MLflow has a RUNNING run: {name}" for (name,) in running]


def process_problems(folder: Path, seconds: float = 45.0) -> list[str]:
    """Return the processes that still run in a clone after so many seconds."""
    end = time.monotonic() + seconds
    while (left := processes_in(folder)) and time.monotonic() < end:
        time.sleep(0.3)
    return [
        f"a process is left: {' '.join(process.info['cmdline'][:5])}"
        for process in left
        if process.is_running()
    ]


def tree(folder: Path) -> set[str]:
    """Return the files of a clone by their relative names, without histories and caches."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return {name for name in names if not any(fnmatch(name, pattern) for pattern in APART)}


def _stages(lock: Path) -> dict[str, Any]:
    """Return the entries of dvc.lock; digests of code, parameters and outputs."""
    return dict(YAML(typ="safe").load(lock)["stages"]) if lock.is_file() else {}
