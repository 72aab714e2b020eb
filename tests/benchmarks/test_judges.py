"""The agreement of judges is measured on the files of any models."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from avss_core.judges.judges import DEFAULT_JUDGE, JUDGES
from avss_core.judges.similarity import PACKAGES
from benchmarks import judges

ROWS = [("Paris", True), ("Lyon", False), ("the paris", True), ("Rome", True)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with four answers of one model for each set, of which GPT-4 judged one unlike us."""
    lines = [
        json.dumps({"question": "Where?", "answer": answer, "gold": "Paris; Paname", "gpt4_correct": correct})
        for answer, correct in ROWS
    ]
    for name in DEFAULT_JUDGE:
        (tmp_path / f"{name}.other.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: Path, *models: str
) -> list[list[str]]:
    """Return the words of each line that the benchmark prints."""
    monkeypatch.setattr(sys, "argv", ["judges", "--data", str(data), "--models", *models])
    judges.main()
    return [line.split() for line in capsys.readouterr().out.splitlines() if line]


@pytest.mark.skipif(any(find_spec(each) is None for each in PACKAGES), reason=f"{PACKAGES} are not installed")
def test_named_models_are_measured_by_every_judge(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    title, head, *lines, rows = printed(monkeypatch, capsys, data, "other")
    assert title == ["kappa:", "other"]
    assert head == ["judge", *DEFAULT_JUDGE]
    # Agreement 3/4 where 2/4 * 3/4 + 2/4 * 1/4 = 1/2 is by chance.
    assert lines == [[name, *["0.500"] * 5] for name in JUDGES]
    assert rows == ["rows", *["4"] * 5]


def test_models_of_the_fits_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    monkeypatch.setattr(judges, "JUDGES", {"exact": JUDGES["exact"]})
    for path in list(data.iterdir()):
        path.rename(path.with_name(path.name.replace("other", "gpt2-xl")))
    title, note, *_ = printed(monkeypatch, capsys, data, "gpt2-xl")
    assert title == ["kappa:", "gpt2-xl"]
    assert " ".join(note) == "the fitted judges are fitted to the answers of gpt2-xl"


def test_a_model_without_files_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"nq\.absent\.jsonl"):
        printed(monkeypatch, capsys, data, "absent")
