"""The process alone; test_certificate.py has real checks in real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from avss_core.surgery import fresh_process
from avss_core.surgery.file_checks import Check
from avss_core.surgery.fresh_process import inspect_afresh

REAL = "from avss_core.surgery.certificate import inspect_with_logits"


def child(monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """Let the new process do something else than load a model."""
    assert REAL in fresh_process._CHILD
    stand_in = f"def inspect_with_logits(folder, *, logits): {does}"
    monkeypatch.setattr(fresh_process, "_CHILD", fresh_process._CHILD.replace(REAL, stand_in))


def test_what_is_printed_is_no_part_of_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        fresh_process, "_CHILD", f"from dataclasses import dataclass\n{CHECK}\n{fresh_process._CHILD}"
    )
    child(monkeypatch, "print('words'); return [Check(folder.name, logits, str(os.getpid()))], [0.5]")
    (check,), logits = inspect_afresh(tmp_path, logits=False)
    assert isinstance(check, Check)
    assert (check.name, check.passed, logits) == (tmp_path.name, False, [0.5])
    assert check.detail != str(os.getpid())


@pytest.mark.parametrize(
    ("raised", "kind"),
    [("ValueError", ValueError), ("FileNotFoundError", FileNotFoundError), ("KeyError", KeyError)],
)
def test_what_the_checks_raise_is_raised_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: str, kind: type[Exception]
) -> None:
    child(monkeypatch, f"raise {raised}('a.json is not valid')")
    with pytest.raises(kind, match=r"^'?a\.json is not valid'?$"):
        inspect_afresh(tmp_path)


def test_an_error_of_a_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child(monkeypatch, "raise json.JSONDecodeError('odd', '', 0)")
    with pytest.raises(RuntimeError, match="JSONDecodeError: odd"):
        inspect_afresh(tmp_path)


def test_a_killed_process_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child(monkeypatch, "os.kill(os.getpid(), 9)")
    with pytest.raises(ChildProcessError, match="check it was killed, most likely for memory"):
        inspect_afresh(tmp_path)


def test_ctrl_c_is_left_to_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child(monkeypatch, "signal.raise_signal(signal.SIGINT); return [], [0.5]")
    assert inspect_afresh(tmp_path) == ([], [0.5])


def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from avss_core.surgery import fresh_process\n"
        "print('once')\n"
        f"fresh_process._CHILD = fresh_process._CHILD.replace({REAL!r},\n"
        "    'def inspect_with_logits(folder, *, logits): return [], [0.25]')\n"
        "print(fresh_process.inspect_afresh(Path('folder')))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "once\n([], [0.25])\n"


CHECK = "@dataclass\nclass Check:\n    name: str\n    passed: bool\n    detail: str\n"
