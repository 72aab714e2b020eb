"""Where standard output goes to nobody: a reader that has gone, a full disk, a closed descriptor."""

import os
import subprocess
import sys

import pytest

PRINTS = """
import sys
from avss_core.cli import app
def many(lines: int):
    for line in range(lines):
        print(line, flush=lines > 9)
    print("done", file=sys.stderr)
app.PANELS["Layers"] = (many,)
app.main()
"""


@pytest.fixture(autouse=True, params=["", "1"], ids=["buffered", "unbuffered"])
def _buffered(request, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", request.param)


def shell(text, tmp_path, *arguments):
    line = text.replace("MANY", f"'{sys.executable}' -c \"$PRINTS\" many {' '.join(map(str, arguments))}")
    environment = os.environ | {"PRINTS": PRINTS, "AVSS_HOME": str(tmp_path / "home")}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("lines", [2, 100_000])
def test_a_reader_that_has_gone_ends_a_command_quietly(tmp_path, lines):
    done = shell("MANY | true", tmp_path, lines)
    assert done.returncode == 141, "as of a program that SIGPIPE ends"
    assert done.stderr in {"", "done\n"}
    assert shell("MANY | head -1", tmp_path, 100_000).stdout == "0\n"


def test_a_reader_that_reads_all_changes_nothing(tmp_path):
    done = shell("MANY | cat", tmp_path, 2)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n1\n", "done\n")


@pytest.mark.parametrize("lines", [2, 100])
def test_a_full_disk_is_one_message(tmp_path, lines):
    done = shell("MANY > /dev/full", tmp_path, lines)
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last.startswith("error: ")
    assert "No space left on device" in last
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_closed_output_is_told_before_work(tmp_path):
    done = shell("MANY >&-", tmp_path, 2)
    assert (done.returncode, done.stderr) == (
        1,
        "error: standard output is closed, and the result goes there; `> /dev/null` throws it away\n",
    )


@pytest.mark.parametrize("closed", ["2>&-", "<&-", "<&- 2>&-"])
def test_another_closed_descriptor_changes_no_result(tmp_path, closed):
    done = shell(f"MANY {closed}", tmp_path, 2)
    assert (done.returncode, done.stdout) == (0, "0\n1\n")
