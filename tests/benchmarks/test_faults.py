"""The harness of faults: that it finds what is wrong, and two of its rows on a pipeline of one stage."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.faults import __main__ as faults
from benchmarks.faults.__main__ import ROWS, Result, main, print_table, run_rows, try_row, undisturbed
from benchmarks.faults.checks import problems
from benchmarks.faults.rows import KILLS, RedError, Row, SkipError
from benchmarks.faults.runs import INJECTION, Ran
from flows.__main__ import STAGE_NAMES

WELL = Ran(0, "The report is reports/index.html")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """What an undisturbed run left, in small."""
    folder = tmp_path / "undisturbed"
    for name in (
        "data/a.json",
        "data/speed.json",
        "reports/summary.json",
        "params.yaml",
        ".dvc/cache/files/x",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "dvc.lock").write_text("stages: {score: {outs: [{path: data/a.json, md5: '1'}]}}")
    with closing(sqlite3.connect(folder / "mlflow.db")) as history, history:
        history.execute("CREATE TABLE runs (name TEXT, status TEXT)")
        history.execute("CREATE TABLE experiments (artifact_location TEXT)")
        history.execute("INSERT INTO runs VALUES ('score', 'FINISHED')")
    return folder


@pytest.fixture
def clone(template: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(template, tmp_path / "row"))


def test_nothing_is_wrong_with_a_clone_that_ended_like_the_undisturbed_one(
    clone: Path, template: Path
) -> None:
    (clone / "data/speed.json").write_text("other times")
    (clone / ".dvc/cache/files/y").write_text("a cached file more")
    assert problems(clone, template, WELL) == []


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("data/b.json", "", ["data/b.json is left over"]),
        (".scratch", "", [".scratch is left over"]),
        ("data/a.json", "changed", ["data/a.json differs"]),
        ("reports/summary.json", "changed", ["reports/summary.json differs"]),
        ("dvc.lock", "stages: {}", ["dvc.lock differs at score"]),
        ("dvc.lock", None, ["dvc.lock differs at score", "dvc.lock is missing"]),
        ("data/a.json", None, ["data/a.json is missing"]),
        ("mlflow.db", None, ["there is no mlflow.db"]),
        (".dvc/cache/files/z.tmp", "", [".dvc/cache/files/z.tmp is half written"]),
        (".prefect/running", "1-a", [".prefect/running is half written"]),
        (
            "data/.a.json.1.part",
            "",
            ["data/.a.json.1.part is left over", "data/.a.json.1.part is half written"],
        ),
    ],
)
def test_a_file_that_should_not_be_so_is_found(
    clone: Path, template: Path, name: str, content: str | None, found: list[str]
) -> None:
    path = clone / name
    path.parent.mkdir(exist_ok=True)
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    assert problems(clone, template, WELL) == found


def test_a_run_that_counts_as_running_is_found(clone: Path, template: Path) -> None:
    with closing(sqlite3.connect(clone / "mlflow.db")) as history, history:
        history.execute("INSERT INTO runs VALUES ('prune', 'RUNNING')")
    assert problems(clone, template, WELL) == ["MLflow has a RUNNING run: prune"]


def test_a_process_that_is_left_is_found(
    clone: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.faults.checks.process_problems.__defaults__", (0.0,))
    command = [sys.executable, "-S", "-c", "input()"]
    with subprocess.Popen(command, cwd=clone, stdin=subprocess.PIPE) as process:
        (found,) = problems(clone, template, WELL)
        process.communicate(b"\n")
    assert found.startswith("a process is left: ")


@pytest.mark.parametrize(
    ("ran", "found"),
    [
        (Ran(1, "one\nerror: two\n"), "the plain run ended with code 1: error: two"),
        (Ran(0, "Traceback (most recent call last):"), "the plain run shows a traceback"),
    ],
)
def test_a_plain_run_that_does_not_go_well_is_found(
    clone: Path, template: Path, ran: Ran, found: str
) -> None:
    assert problems(clone, template, ran) == [found]


def _leave(name: str) -> Row:
    def act(place: faults.Place) -> str:
        (place.folder / name).write_text("x")
        return "left it"

    return Row(f"leaves {name}", act)


def _raise(error: Exception) -> Row:
    def act(_place: faults.Place) -> str:
        raise error

    return Row(f"raises {type(error).__name__}", act)


def test_a_row_is_red_where_something_is_left_and_its_clone_stays(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "repro", lambda *_args, **_kwargs: WELL)
    results = {
        row.name: try_row(row, tmp_path / f"row-{number}", template, "http://127.0.0.1:1/api")
        for number, row in enumerate(
            [
                _leave("data/.x.1.part"),
                _leave("data/speed.json"),
                _raise(RedError("odd")),
                _raise(SkipError("no")),
            ]
        )
    }
    assert {name: result.state for name, result in results.items()} == {
        "leaves data/.x.1.part": "RED",
        "leaves data/speed.json": "ok",
        "raises RedError": "RED",
        "raises SkipError": "skipped",
    }
    said = results["leaves data/.x.1.part"].said
    assert said.startswith("left it; then data/.x.1.part is left over; data/.x.1.part is half written")
    assert [path.name for path in sorted(tmp_path.glob("row-*"))] == ["row-0", "row-2"]


def test_the_code_tells_whether_a_row_is_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = _leave("x")
    for state, code in (("ok", 0), ("skipped", 0), ("RED", 1)):
        found = [Result(row, state, "a | b", 12.4)]
        monkeypatch.setattr(faults, "run_rows", lambda *_args, found=found: found)
        assert main(["--work", str(tmp_path), "--rows", "gate: SIGKILL"]) == code
        printed = capsys.readouterr().out.splitlines()
        assert printed[-3:] == [f"| leaves x | {state} | a \\| b | 12 |", "", f"1 rows: 1 {state}"]


def test_rows_are_listed_and_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--rows", "^gate: SIGKILL"]) == 0
    assert capsys.readouterr().out.count("gate: SIGKILL") == 3
    with pytest.raises(SystemExit):
        main(["--rows", "no such row"])
    assert "no row's name has 'no such row'" in capsys.readouterr().err
    print_table([])


def test_kills_strike_every_stage_and_no_name_is_used_twice() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names)) >= 40
    assert len(KILLS) >= 20
    assert {row.name.partition(":")[0] for row in KILLS} == set(STAGE_NAMES)


FAKE_STAGE = """
from pathlib import Path
for name in ("a", "b", "c"):
    part = Path(f"{name}.part")
    part.write_text(name)
    part.replace(Path("data") / name)
"""


@pytest.mark.parametrize(
    ("fault", "code", "left"),
    [
        ("score|rename|data/b|1|KILL|self", -signal.SIGKILL, {"a"}),
        ("score|rename|data/*|3|TERM|self", -signal.SIGTERM, {"a", "b"}),
        ("score|write|*c.part|1|KILL|self", -signal.SIGKILL, {"a", "b"}),
        ("prune|rename|data/b|1|KILL|self", 0, {"a", "b", "c"}),
    ],
)
def test_a_fault_strikes_its_program_at_its_point_alone(
    tmp_path: Path, fault: str, code: int, left: set[str]
) -> None:
    (tmp_path / "flows").mkdir()
    # A regular package comes before one further back on the path; a folder without this file does not.
    (tmp_path / "flows/__init__.py").touch()
    (tmp_path / "flows/__main__.py").write_text(FAKE_STAGE)
    (tmp_path / "data").mkdir()
    fired = tmp_path / "fired"
    variables = {"PYTHONPATH": str(INJECTION), "AVSS_FAULT": fault, "AVSS_FAULT_FIRED": str(fired)}
    command = [sys.executable, "-m", "flows", "score"]
    ran = subprocess.run(command, cwd=tmp_path, env=os.environ | variables, check=False)
    assert ran.returncode == code
    assert {path.name for path in (tmp_path / "data").iterdir()} == left
    assert fired.exists() == (code != 0)


@pytest.mark.slow
def test_two_rows_on_a_pipeline_of_one_stage(tmp_path: Path) -> None:
    undisturbed(tmp_path, ["prepare"])
    wanted = ("prepare: SIGKILL to the stage, model written, not in place", "dvc.lock cut off")
    rows = [row for row in ROWS if row.name in wanted]
    results = run_rows(rows, tmp_path)
    assert [(result.row.name, result.state) for result in results] == [(name, "ok") for name in wanted], [
        result.said for result in results
    ]
