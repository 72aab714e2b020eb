import os
import time

import pytest
from prefect.results import ResultRecord, ResultRecordMetadata

from avss_core.caching.fingerprints import fingerprint, units
from avss_core.caching.unit import entry_name
from tasks.cache.result_cache import read_entries, seconds_of, select
from tasks.cache.stored_results import CheckedJSON

DAY = 86400


@pytest.fixture
def write(tmp_path):
    def write(unit, digit, *, code=None, days=0, kept=None):
        name = entry_name(unit, digit * 64, code or fingerprint(units()[unit]))
        metadata = ResultRecordMetadata(serializer=CheckedJSON(), storage_key=str(tmp_path / name))
        (tmp_path / name).write_bytes(ResultRecord(metadata=metadata, result=[digit]).serialize()[:kept])
        then = time.time() - days * DAY
        os.utime(tmp_path / name, (then, then))

    return write


@pytest.fixture
def entries(write, tmp_path):
    write("sentiment", "a")
    write("sentiment", "b", code="0" * 64, days=40)
    write("own-answers", "c", days=10, kept=9)
    write("gone", "d", code="0" * 64)
    (tmp_path / "notes.txt").write_text("not a result")
    return read_entries(tmp_path)


def test_each_result_has_its_state_size_and_age(entries):
    found = {entry.key[0]: entry for entry in entries}
    assert {digit: entry.state for digit, entry in found.items()} == {
        "a": "current", "b": "outdated", "c": "broken", "d": "outdated"
    }  # fmt: skip
    assert [entry.unit for entry in entries] == ["gone", "own-answers", "sentiment", "sentiment"]
    assert found["a"].size == found["a"].path.stat().st_size
    assert found["b"].age == pytest.approx(40 * DAY, abs=60)
    assert found["c"].problem == "it is not JSON; it was cut off or written over"


def test_no_folder_holds_nothing(tmp_path):
    assert read_entries(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("which", "options", "left"),
    [
        ([], {}, "dcab"),
        (["sentiment"], {}, "ab"),
        (["sentiment"], {"older_than": 30 * DAY}, "b"),
        (["aaa", "own-answers"], {}, "ca"),
        ([], {"states": ["outdated"]}, "db"),
        ([], {"states": ["outdated", "broken"], "older_than": DAY}, "cb"),
        (["aaa"], {"states": ["broken"]}, ""),
    ],
)
def test_what_is_asked_for_is_selected(entries, which, options, left):
    assert "".join(entry.key[0] for entry in select(entries, which, **options)) == left


def test_a_unit_or_key_without_a_result_is_named(entries):
    with pytest.raises(LookupError, match="the unit or the key sentimental, fff;"):
        select(entries, ["sentiment", "sentimental", "fff"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("12h", 43200), ("30d", 30 * DAY), ("1.5w", 10.5 * DAY)]
)
def test_times(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "30 days", "3y"])
def test_what_is_no_time_is_named(text):
    with pytest.raises(ValueError, match=f"'{text}' is not a time"):
        seconds_of(text)
