"""What is seen of a long step: lines in a pipe, bars in a pseudo terminal, nothing from helpers."""

import os
import pickle
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from avss_core.display import lines as progress_lines
from avss_core.display.lines import StepLines
from avss_core.display.steps import progress, stage_shown, working
from avss_core.display.timing import Step

ROOT = Path(__file__).resolve().parents[3]


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def step():
    """A step with a clock that is set by hand, and what it said."""

    def made(total, unit="windows"):
        clock, said = Clock(), []
        return StepLines(Step("loss", total, unit, clock=clock), said.append), clock, said

    StepLines.latest = 0.0
    return made


def test_a_step_says_little_and_how_long_it_will_take(step):
    lines, clock, said = step(200)
    for second in range(1, 61):  # ten windows in three seconds
        clock.now = 1000.0 + second
        if second % 3 == 0:
            lines.advance(10)
    lines.end()
    assert said == [
        "loss: 10 of 200 windows, 3.0 s so far, about 57 s left",
        "loss: 30 of 200 windows, 9.0 s so far, about 51 s left",
        "loss: 50 of 200 windows, 15 s so far, about 45 s left",
        "loss: 70 of 200 windows, 21 s so far, about 39 s left",
        "loss: 90 of 200 windows, 27 s so far, about 33 s left",
        "loss: 110 of 200 windows, 33 s so far, about 27 s left",
        "loss: 130 of 200 windows, 39 s so far, about 21 s left",
        "loss: 150 of 200 windows, 45 s so far, about 15 s left",
        "loss: 170 of 200 windows, 51 s so far, about 9.0 s left",
        "loss: 190 of 200 windows, 57 s so far, about 3.0 s left",
        "loss: 200 of 200 windows in 1 min",
    ]


def test_a_short_step_says_nothing(step):
    lines, clock, said = step(2)
    clock.now += 1.9
    lines.advance(2)
    lines.end()
    assert said == []


def test_a_step_that_stands_still_speaks_all_the_same(step):
    lines, clock, said = step(1000)
    for second in (2, 31.9, 32, 61.9, 62):
        clock.now = 1000.0 + second
        lines.tick()
    assert said == [
        "loss: 0 of 1,000 windows, 2.0 s so far",
        "loss: 0 of 1,000 windows, 32 s so far",
        "loss: 0 of 1,000 windows, 1 min 2 s so far",
    ]


def test_what_is_left_falls_while_nothing_finishes(step):
    lines, clock, said = step(8, "turns")
    clock.now += 10
    lines.advance(1)
    for _ in range(3):
        clock.now += 30
        lines.tick()
    assert said == [
        "loss: 1 of 8 turns, 10 s so far, about 1 min 10 s left",
        "loss: 1 of 8 turns, 40 s so far, about 40 s left",
        "loss: 1 of 8 turns, 1 min 10 s so far, about 10 s left",
        "loss: 1 of 8 turns, 1 min 40 s so far",
    ]


def test_a_step_of_unknown_length_does_not_talk_between_others(step):
    outer, clock, said = step(None)
    inner, _, inner_said = step(2)
    inner.step.clock = clock
    clock.now += 2
    outer.tick()
    clock.now += 20
    inner.advance(1)
    clock.now += 20
    outer.tick()
    assert (said, inner_said) == (["loss"], ["loss: 1 of 2 windows, 22 s so far, about 22 s left"])
    clock.now += 10
    outer.tick()
    outer.end()
    assert said == ["loss", "loss: 52 s so far", "loss: done in 52 s"]


def test_in_a_pipe_a_stage_is_two_lines_and_quick_steps_are_none(capsys):
    with stage_shown("score", 3, 11), working("loading"), progress("loss", 2, "windows") as advance:
        advance(2)
    written = capsys.readouterr()
    assert written.out == ""
    assert re.fullmatch(r"stage 3 of 11: score\nstage 3 of 11: score: done in 0\.\d s\n", written.err)


def test_a_stage_that_is_switched_off_says_by_what(capsys):
    with stage_shown("heal", 7, 11) as shown:
        shown.switched_off = "heal.enabled"
    assert capsys.readouterr().err.splitlines() == [
        "stage 7 of 11: heal",
        "stage 7 of 11: heal: switched off (heal.enabled)",
    ]


def test_a_step_that_failed_is_not_done(capsys):
    with pytest.raises(ValueError, match="no"), stage_shown("score", 3, 11):
        raise ValueError("no")
    assert capsys.readouterr().err == "stage 3 of 11: score\n"


def test_a_process_that_helps_shows_nothing(capsys, monkeypatch):
    monkeypatch.setattr("multiprocessing.parent_process", lambda: object())
    monkeypatch.setattr(progress_lines, "QUIET", 0.0)
    with working("loading"), progress("loss", 2, "windows") as advance:
        advance(1)
    assert capsys.readouterr() == ("", "")


def test_what_counts_units_can_be_sent_to_a_process_that_shows_nothing(capsys, monkeypatch):
    with progress("loss", 2, "windows") as advance:
        monkeypatch.setattr(progress_lines, "QUIET", 0.0)
        # Dask and Ray send what a unit closes over in this form; nothing of it is read from a file.
        pickle.loads(pickle.dumps(advance))(1)
        assert capsys.readouterr().err == ""
        advance(1)
    assert capsys.readouterr().err.startswith("loss: 1 of 2 windows")


SCRIPT = """
import logging, sys, time
from rich.console import Console
from avss_core.display.steps import progress, stage_shown, working

class Handler(logging.Handler):  # as Prefect's
    console = Console(stderr=True)

    def emit(self, record):
        self.console.print(record.getMessage())

logging.getLogger("prefect.training").addHandler(Handler())
with stage_shown("score", 3, 11), working("loading of a model whose name is long " * 4):
    with progress("loss", 4000, "windows") as advance:
        time.sleep(0.4)
        advance(1000)
        time.sleep(0.6)
        print("a result")
        print("a remark", file=sys.stderr)
        logging.getLogger("prefect.training").warning("a line of the log")
"""


def in_a_terminal(**environment):
    """Return what a script with bars writes to a pipe and to a terminal of 80 columns."""
    mine, theirs = pty.openpty()
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=known | {"TERM": "xterm", "COLUMNS": "80", "PYTHONPATH": str(ROOT)} | environment,
    )
    os.close(theirs)
    drawn = b""
    try:
        while part := os.read(mine, 65536):
            drawn += part
    except OSError:  # the other end is closed
        pass
    os.close(mine)
    out = process.communicate()[0].decode()
    assert process.returncode == 0, drawn
    return out, drawn.decode()


COLOUR = re.compile("\x1b\\[[0-9;]*3[0-9](;[0-9]+)*m")


def test_at_a_terminal_bars_come_and_go_and_lines_stay():
    out, drawn = in_a_terminal()
    assert out == "a result\n"
    assert COLOUR.search(drawn)
    text = re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", drawn)
    for said in ("stage 3 of 11: score", "1,000 of 4,000 windows", " left", "a remark", "a line of the log"):
        assert said in text
    assert all(len(line) <= 80 for line in re.split("[\r\n]+", text))
    assert re.search(r"stage 3 of 11: score: done in \d\.\d s\r\n", text)
    assert "\x1b[?25h" in drawn, "the cursor is back"


def test_at_a_terminal_without_colours_bars_have_none():
    out, drawn = in_a_terminal(NO_COLOR="1")
    assert out == "a result\n"
    assert "1,000 of 4,000 windows" in drawn
    assert not COLOUR.search(drawn)


def test_a_dumb_terminal_gets_lines():
    out, drawn = in_a_terminal(TERM="dumb")
    assert out == "a result\n"
    assert "\x1b" not in drawn
    assert drawn.startswith("stage 3 of 11: score\r\n")
