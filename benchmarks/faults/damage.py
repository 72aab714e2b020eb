"""Rows in which files are damaged between two runs."""

import json
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.faults.clone import cached, forget_stages
from benchmarks.faults.rows import STORAGE, UNITS, Place, RedError, Row, last_line

DEAD = 4_190_000
"""A process number that is too high for any process."""


def cut_off(path: Path) -> None:
    """Leave the first half of a file."""
    path.chmod(0o644)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def garbled(path: Path) -> None:
    """Give a file as many other bytes, and keep its mode."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))
    path.chmod(mode)


def emptied(path: Path) -> None:
    """Empty a file."""
    path.write_bytes(b"")


def removed(path: Path) -> None:
    """Remove a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def damage(
    name: str, pattern: str, how: Callable[[Path], None], *stages: str, own_server: bool = False
) -> Row:
    """Return a row in which the first file that matches is damaged, and some stages run again."""

    def act(place: Place) -> str:
        if stages:
            forget_stages(place.folder, stages)
        path = min(place.folder.glob(pattern), default=None)
        if path is None:
            raise RedError(f"there is no {pattern} to damage")
        how(path)
        return "nothing yet"

    return Row(name, act, own_server)


def written(name: str, path: str, content: str, *stages: str) -> Row:
    """Return a row in which a file is left behind, and some stages run again."""

    def act(place: Place) -> str:
        if stages:
            forget_stages(place.folder, stages)
        target = place.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        return "nothing yet"

    return Row(name, act)


def checkpoint(stage: str, how: Callable[[Path], None], word: str) -> Row:
    """Return a row in which the checkpoint of a stopped training is damaged."""

    def act(place: Place) -> str:
        forget_stages(place.folder, (stage,), UNITS[stage])
        ran = place.run(fault=f"{stage}|rename|*/training.safetensors|2|KILL|self")
        files = sorted((place.folder / "data" / "training" / stage).rglob("training.safetensors"))
        if ran.code == 0 or not files:
            raise RedError(f"no checkpoint was left; exit code {ran.code}")
        for path in files:
            how(path)
        return f"exit code {ran.code}, then nothing"

    return Row(f"{stage}: checkpoint of a killed training {word}", act)


def object_of(output: str, how: Callable[[Path], None], word: str) -> Row:
    """Return a row in which an output is gone, and its object in DVC's cache is damaged."""

    def act(place: Place) -> str:
        lock = YAML(typ="safe").load(place.folder / "dvc.lock")
        outs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
        digest = next(out["md5"] for out in outs if out["path"] == output)
        how(cached(place.folder, digest))
        removed(place.folder / output)
        return "nothing yet"

    return Row(f"{output} removed, its object in DVC's cache {word}", act)


def left_running(place: Place) -> str:
    """Mark a run of the history as left running by a process that is gone."""
    forget_stages(place.folder, ("gate",))
    with closing(sqlite3.connect(place.folder / "mlflow.db")) as history, history:
        (run,) = history.execute("SELECT run_uuid FROM runs WHERE name = 'gate'").fetchone()
        history.execute("UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", [run])
        history.execute(
            "UPDATE tags SET value = ? WHERE run_uuid = ? AND key = 'avss.owner'",
            [f"{DEAD}:1.0:{socket.gethostname()}", run],
        )
    return "nothing yet"


def history_cut_off(place: Place) -> str:
    """Cut off the history, check that the run says so, and do what it says."""
    forget_stages(place.folder, ("gate",))
    database = place.folder / "mlflow.db"
    cut_off(database)
    ran = place.run()
    if ran.code == 0 or "mlflow.db" not in ran.output or "move it away" not in ran.output:
        raise RedError(f"exit code {ran.code}, and no word of what to do: {last_line(ran)}")
    removed(database)
    message = next(line for line in ran.output.splitlines() if "move it away" in line)
    return f"exit code {ran.code}: {message.strip()[:160]}"


_RWLOCK = json.dumps({"write": {"data/localization.json": {"pid": DEAD, "cmd": "dvc repro"}}, "read": {}})

DAMAGE = (
    damage("cached result of a unit cut off", f"{STORAGE}/text-statistics-*", cut_off, "collect"),
    damage("cached result of a unit emptied", f"{STORAGE}/removal-cost-*", emptied, "score"),
    damage("cached result of a unit garbled", f"{STORAGE}/answer-set-*", garbled, "evaluate"),
    checkpoint("heal", cut_off, "cut off"),
    checkpoint("mitigate", garbled, "garbled"),
    damage("data/statistics.json garbled", "data/statistics.json", garbled),
    damage("data/activations cut off", "data/activations/*.safetensors", cut_off),
    damage("data/dense cut off", "data/dense/*.safetensors", cut_off),
    damage("data/pruned removed", "data/pruned", removed),
    damage("reports/summary.json garbled", "reports/summary.json", garbled),
    object_of("data/scores.json", garbled, "garbled"),
    object_of("data/localization.json", cut_off, "cut off"),
    object_of("data/statistics.json", removed, "removed"),
    damage("dvc.lock cut off", "dvc.lock", cut_off),
    damage("dvc.lock emptied", "dvc.lock", emptied),
    written("DVC's rwlock cut off", ".dvc/tmp/rwlock", '{"read": {', "localize"),
    written("DVC's rwlock of a process that is gone", ".dvc/tmp/rwlock", _RWLOCK, "localize"),
    damage("Prefect's database cut off", ".prefect/prefect.db", cut_off, "localize", own_server=True),
    written("a half-written file left behind", f"data/.scores.json.{DEAD}.part", "{", "gate"),
    written("a half-written folder left behind, nothing to do", f"data/.pruned.{DEAD}-abc.part/x", "x"),
    written(
        "a control's checkpoint left behind", "data/controls/random_1/model.safetensors", "x", "mitigate"
    ),
    written("the record of a run that is gone", ".prefect/running", f"{DEAD}-0123456789ab", "gate"),
    Row("history: a run left RUNNING by a process that is gone", left_running),
    Row("history: mlflow.db cut off", history_cut_off),
)
