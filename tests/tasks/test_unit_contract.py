"""What every cached unit promises: JSON that comes back as it was, and no file that is not in its key."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from avss_core.caching.fingerprints import project_files, units
from tasks.cache.stored_results import CheckedJSON

ROOT = Path(__file__).parents[2]
MACHINE = {"dtype": "float32", "device": "cpu"}
TEXT = ["The red rose is on the hill. " * 6, "A blue sky is high above the sea. " * 6]
ASKING = {
    "shots": 2,
    "max_new_tokens": 2,
    "batch_size": 4,
    "judge_name": "fitted_lexical",
    "chat": False,
}


@pytest.fixture
def prepared(tmp_path):
    """Rows of a question set and of reviews, and text."""
    files = {
        f"nq/{part}.jsonl": [
            {"id": f"{part}-{n}", "question": f"{part} {n}?", "answers": ["Ada"], "wrong_answers": ["Bob"]}
            for n in range(3)
        ]
        for part in ("train", "validation", "calibration", "test")
    }
    files["sst2/rows.jsonl"] = [{"id": f"r-{n}", "text": f"fine {n}", "label": n % 2} for n in range(4)]
    for name, rows in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "test.json").write_text(json.dumps(TEXT))
    return tmp_path


@pytest.fixture
def given(checkpoint, prepared):
    """The arguments of every unit."""
    text, nq, reviews = prepared / "text/test.json", prepared / "nq", prepared / "sst2/rows.jsonl"
    asked = {"model": checkpoint, "questions": nq / "test.jsonl", "demonstrations": [nq / "train.jsonl"]}
    sites = ["output", "update", "attention", "mlp", "mlp_act"]
    found = {
        "text-statistics": {
            "model": checkpoint, "source": text, "tokens": 64, "window": 32, "batch_size": 2,
            "skip_first": True, "sites": sites, "absolute": 1e-5, "relative": 0.1, "part": 0, "parts": 2,
        },
        "language-modelling": {
            "model": checkpoint, "text": text, "tokens": 64, "window": 32, "stride": 16,
        },
        "own-text": {"model": checkpoint, "text": text, "window": 16, "part": 0, "seed": 0},
        "divergence": {"base": checkpoint, "model": checkpoint, "text": text, "tokens": 64, "window": 32},
        "sentiment": {
            "model": checkpoint, "train": reviews, "test": reviews, "shots": 2, "first": 0, "last": 4,
            "batch_size": 2,
        },
        "own-answers": {
            "model": checkpoint, "parts": {part: nq / f"{part}.jsonl" for part in ("train", "validation")},
            "demonstrations": nq / "calibration.jsonl", "questions": 3, "samples": 1, "temperature": 1.0,
            "seed": 0, **ASKING,
        },
        "own-replies": {
            "model": checkpoint, "questions": nq / "train.jsonl", "demonstrations": nq / "calibration.jsonl",
            "questions_at_most": 3, **ASKING,
        },
        "answer-set": {**asked, "first": 0, "last": 4, "scored_answers": 2, **ASKING},
        "layer-answers": {**asked, "limit": 2, "step": 3, **ASKING},
        "removal-loss": {
            "model": checkpoint, "text": text, "layer": 1, "removed": [3], "tokens": 64, "window": 16,
            "context": 8,
        },
        "removal-cost": {
            "model": checkpoint, "text": text, "removed": [1], "skip": 32, "tokens": 64, "window": 32,
        },
        "repair-residuals": {
            "model": checkpoint, "text": text, "tokens": 64, "window": 16, "batch_size": 2,
        },
        "repaired-cost": {
            "model": checkpoint, "text": text, "removed": [1], "repair_tokens": 32, "repair_window": 16,
            "batch_size": 2, "skip": 32, "tokens": 64, "window": 32,
        },
    }  # fmt: skip
    return {name: arguments | MACHINE for name, arguments in found.items()}


def _unit(name):
    return next(
        u for u in vars(importlib.import_module(units()[name])).values() if getattr(u, "name", 0) == name
    )


_OPENED: list[str] | None = None


def _listen(event, arguments):
    if _OPENED is not None and event == "open" and isinstance(arguments[0], str):
        _OPENED.append(arguments[0])


@pytest.fixture(scope="module")
def hook():
    """Note each file that is opened; Python cannot take such a hook away again, so it may be told to stop."""
    sys.addaudithook(_listen)


@pytest.fixture
def opened(hook):
    """The files that are opened in the test."""
    global _OPENED
    _OPENED = []
    yield _OPENED
    _OPENED = None


def test_every_unit_has_its_arguments_here(given):
    assert set(given) == set(units())


@pytest.mark.parametrize("name", sorted(units()))
def test_a_unit_reads_no_file_of_the_project_but_those_in_its_key_and_returns_plain_json(
    name, given, checkpoint, prepared, opened
):
    from avss_core.judges.fitted_judge import read_fits

    read_fits.cache_clear()
    result = _unit(name).fn(**given[name])
    stored = CheckedJSON()
    assert stored.loads(stored.dumps(result)) == result
    read = {Path(path).absolute() for path in opened}
    ours = {path for path in read if path.is_relative_to(ROOT) and ".venv" not in path.parts}
    sources = {path for path in ours if path.suffix not in {".py", ".pyc"}}
    assert sources <= set(project_files(units()[name]).values())
    assert (ROOT / "avss_core/judges/fitted_judge.json" in sources) == ("judge_name" in given[name])
    inputs = {path for path in read if path.is_relative_to(prepared) and not path.is_relative_to(checkpoint)}
    assert inputs <= set(_paths(given[name]))


def _paths(value):
    """Return the files among arguments."""
    if isinstance(value, Path):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [path for part in parts for path in _paths(part)]
