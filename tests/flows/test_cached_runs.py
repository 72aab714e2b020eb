"""What Prefect does with units: when one runs again, and what it then returns."""

import os
from pathlib import Path

import pytest

import flows  # noqa: F401 - sets Prefect's environment, which prefect reads when it is imported
from tasks.cache.stored_results import problem_of
from tasks.cache.units import unit

CALLS = []


@unit("tripled")
def tripled(path: Path, *, factor: float = 3.0, also: list[Path] | None = None) -> dict:
    """Return a number of a file, times a factor."""
    CALLS.append(factor)
    return {"value": float(path.read_text()) * factor, "also": [p.read_text() for p in also or []]}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "number.txt"
    path.write_text("1.5")
    return path


@pytest.fixture
def storage(tmp_path, prefect_harness):
    """The folder of results, empty."""
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    CALLS.clear()
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "storage"}):
        yield tmp_path / "storage"


def _only(storage):
    (entry,) = storage.iterdir()
    return entry


def test_a_default_that_is_left_out_is_that_default(file, storage):
    assert tripled(file) == tripled(file, factor=3.0) == tripled(path=file, also=None)
    assert CALLS == [3.0]
    assert problem_of(_only(storage)) is None


def test_parameters_a_b_a_give_the_bytes_of_a(file, storage):
    first = tripled(file)
    bytes_of_a = _only(storage).read_bytes()
    assert tripled(file, factor=4.0) != first
    assert tripled(file) == first
    assert CALLS == [3.0, 4.0]
    assert bytes_of_a in {entry.read_bytes() for entry in storage.iterdir()}


@pytest.mark.parametrize("place", ["path", "also"])
def test_an_input_changed_under_its_path_is_read_again(file, storage, place):
    given = {"path": file} if place == "path" else {"path": file, "also": [file]}
    assert tripled(**given)["value"] == 4.5
    file.write_text("2.5")
    assert tripled(**given)["value"] == 7.5
    file.write_text("1.5")
    assert tripled(**given)["value"] == 4.5
    assert len(CALLS) == 2


def _flip(entry):
    text = bytearray(entry.read_bytes())
    text[text.index(b"4.5")] ^= 1
    entry.write_bytes(text)


BREAK = {
    "empty": lambda entry: entry.write_bytes(b""),
    "cut off": lambda entry: entry.write_bytes(entry.read_bytes()[:-9]),
    "a flipped bit": _flip,
    "another structure": lambda entry: entry.write_text("[]"),
    "a folder": lambda entry: (entry.unlink(), entry.mkdir(), (entry / "x").touch()),
    "a link to nowhere": lambda entry: (entry.unlink(), entry.symlink_to("nowhere")),
}


@pytest.mark.parametrize("kind", BREAK)
def test_a_broken_result_is_computed_again_and_kept(file, storage, kind):
    fresh = tripled(file)
    BREAK[kind](_only(storage))
    assert tripled(file) == fresh == {"value": 4.5, "also": []}
    assert tripled(file) == fresh
    assert len(CALLS) == 2
    assert problem_of(_only(storage)) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_result_without_permission_is_computed_again(file, storage):
    fresh = tripled(file)
    _only(storage).chmod(0)
    assert tripled(file) == fresh
    assert len(CALLS) == 2


def test_a_result_that_says_that_it_is_plain_json_is_not_trusted(file, storage):
    fresh = tripled(file)
    entry = _only(storage)
    entry.write_text(entry.read_text().replace("checked-json", "json"))
    assert tripled(file) == fresh
    assert len(CALLS) == 2


def test_a_broken_result_in_a_folder_that_is_not_looked_at_is_not_used_either(file, storage, monkeypatch):
    """Where results lie elsewhere than on this disk, Prefect alone finds the checksum wrong."""
    from tasks.cache import units

    fresh = tripled(file)
    _flip(_only(storage))
    monkeypatch.setattr(units, "drop_broken", lambda _entry: None)
    assert tripled(file) == fresh
    assert len(CALLS) == 2
