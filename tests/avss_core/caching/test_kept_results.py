"""What commands keep of their units: found again, computed again if it is damaged, and never in the way."""

import threading
from functools import partial
from pathlib import Path

import pytest

from avss_core.caching.kept_results import run_kept
from avss_core.caching.unit import unit

RAN: list[str] = []


@unit("planted-length")
def length(file: Path, times: int = 1, said: str = "length") -> list[int]:
    """Return the length of a text, some times."""
    RAN.append(said)
    return [len(file.read_text())] * times


MEETING = threading.Barrier(2, timeout=20)


@unit("planted-meeting")
def meeting(number: int) -> int:
    """Return a number when another call of this is under way."""
    MEETING.wait()
    return number


@pytest.fixture(autouse=True)
def _nothing_ran():
    RAN.clear()


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("four")
    return path


def test_results_come_in_the_shape_of_the_jobs_and_are_found_again(text, tmp_path):
    run = run_kept(tmp_path / "kept")
    jobs = {"a": [partial(length, text), partial(length, text, 2)], "b": partial(length, text, times=3)}
    expected = {"a": [[4], [4, 4]], "b": [4, 4, 4]}
    assert (
        run(jobs, "lengths")
        == run(jobs, "lengths")
        == run_kept(tmp_path / "kept")(jobs, "lengths")
        == expected
    )
    assert len(RAN) == 3


def test_the_key_follows_content_and_defaults_and_not_what_is_said(text, tmp_path):
    run = run_kept(tmp_path / "kept")
    assert run([partial(length, text)], "lengths") == run([partial(length, text, 1, said="other")], "lengths")
    twin = tmp_path / "elsewhere.txt"
    twin.write_text("four")
    other = tmp_path / "other.txt"
    other.write_text("seven77")
    assert run([partial(length, twin)], "lengths") == [[4]]
    assert RAN == ["length"]
    assert run([partial(length, other)], "lengths") == [[7]]
    assert RAN == ["length", "length"]


@pytest.mark.parametrize("damage", [b"", b"[5]", b"\xff\xfe", b'{"cut'])
def test_a_damaged_result_is_computed_again(damage, text, tmp_path):
    run = run_kept(tmp_path / "kept")
    run([partial(length, text)], "lengths")
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name.startswith("planted-length-")
    whole = kept.read_bytes()
    kept.write_bytes(damage)
    assert run([partial(length, text)], "lengths") == [[4]]
    assert RAN == ["length", "length"]
    assert kept.read_bytes() == whole


def test_a_stopped_run_goes_on_at_the_first_unit_that_is_missing(text, tmp_path):
    absent = tmp_path / "absent.txt"
    run = run_kept(tmp_path / "kept")
    jobs = [partial(length, text), partial(length, absent), partial(length, text, 2)]
    with pytest.raises(FileNotFoundError, match=r"absent\.txt"):
        run(jobs, "lengths")
    absent.write_text("there")
    assert run(jobs, "lengths") == [[4], [5], [4, 4]]
    assert RAN == ["length"] * 3


def test_a_folder_that_cannot_be_written_keeps_nothing_and_stops_nobody(text, tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = run_kept(tmp_path / "file" / "kept")
    assert run([partial(length, text)], "lengths") == run([partial(length, text)], "lengths") == [[4]]
    assert run_kept(None)([partial(length, text)], "lengths") == [[4]]
    assert RAN == ["length"] * 3


def test_units_that_may_run_in_threads_do(tmp_path):
    run = run_kept(tmp_path / "kept", workers=2)
    jobs = {name: partial(meeting, number) for number, name in enumerate("abcd")}
    assert run(jobs, "meetings", threads=True) == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert len(list((tmp_path / "kept").iterdir())) == 4


def test_a_unit_made_inside_of_a_function_is_refused():
    with pytest.raises(TypeError, match="the unit inner is made inside of a function"):

        @unit("inner")
        def inner():
            return RAN
