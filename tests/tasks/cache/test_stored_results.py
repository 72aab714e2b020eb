import json
import logging
import os

import pytest
from prefect.results import ResultRecord, ResultRecordMetadata
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from avss_core.caching.unit import entry_name
from tasks.cache.stored_results import (
    CheckedJSON,
    drop_broken,
    problem_of,
    remove,
    storage_folder,
)

VALUE = {"nll": 3.25, "text": "sé 'x' \u2028", "rows": [1, None, True]}


@pytest.fixture
def entry(tmp_path):
    """A result as Prefect writes it."""
    path = tmp_path / entry_name("answer-set", "c" * 64, "0" * 64)
    metadata = ResultRecordMetadata(serializer=CheckedJSON(), storage_key=str(path))
    path.write_bytes(ResultRecord(metadata=metadata, result=VALUE).serialize())
    return path


def test_a_whole_result_is_read_as_it_was_written(entry):
    assert problem_of(entry) is None
    assert ResultRecord.deserialize(entry.read_bytes()).result == VALUE
    drop_broken(entry)
    assert entry.is_file()


def test_a_result_may_move_with_its_folder(entry, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    assert problem_of(entry.rename(tmp_path / "elsewhere" / entry.name)) is None


def test_no_flipped_bit_changes_a_result_that_is_used(entry):
    whole = entry.read_bytes()
    result = whole.index(b'"result"')
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        entry.write_bytes(flipped)
        if problem_of(entry) is None:
            assert bit // 8 < result  # in what says where, when and by which version it was written
            try:
                assert ResultRecord.deserialize(bytes(flipped)).result == VALUE
            except ValueError:  # Prefect does not take it either
                continue


def test_no_cut_leaves_a_result_that_is_used(entry):
    whole = entry.read_bytes()
    for length in range(len(whole)):
        entry.write_bytes(whole[:length])
        assert problem_of(entry) is not None, length


def _change(entry, **changes):
    record = json.loads(entry.read_text())
    entry.write_text(json.dumps(record | changes))


BREAK = {
    "empty": lambda entry: entry.write_bytes(b""),
    "another value": lambda entry: entry.write_text(entry.read_text().replace("3.25", "3.26")),
    "another type": lambda entry: entry.write_text("[1]"),
    "no result": lambda entry: _change(entry, result=None),
    "no metadata": lambda entry: _change(entry, metadata={}),
    "without a checksum": lambda entry: entry.write_text(entry.read_text().replace("checked-json", "json")),
    "of another key": lambda entry: entry.write_text(entry.read_text().replace("ccc", "bbb")),
    "a folder": lambda entry: (entry.unlink(), entry.mkdir(), (entry / "x").touch()),
    "a link to nowhere": lambda entry: (entry.unlink(), entry.symlink_to("nowhere")),
}
SAID = {
    "empty": "it is not JSON; it was cut off or written over",
    "another value": "its content does not have the checksum that it was written with",
    "another type": "it does not have the parts of a result",
    "no result": "it does not have the parts of a result",
    "no metadata": "it does not have the parts of a result",
    "without a checksum": "it has no checksum",
    "of another key": "it holds the result of another key",
    "a folder": "it is not a file",
    "a link to nowhere": "it is not a file",
}


@pytest.mark.parametrize("kind", BREAK)
def test_a_broken_result_is_named_and_removed(entry, kind):
    BREAK[kind](entry)
    assert problem_of(entry) == SAID[kind]
    drop_broken(entry)
    assert not os.path.lexists(entry)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_result_without_permission_is_removed(entry):
    entry.chmod(0)
    assert problem_of(entry) == "it cannot be read (Permission denied)"
    drop_broken(entry)
    assert not entry.exists()


def test_a_result_that_cannot_be_read_is_removed(entry, monkeypatch):
    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(entry), "read_bytes", refuse)
    assert problem_of(entry) == "it cannot be read (Permission denied)"
    drop_broken(entry)
    assert not entry.exists()


def test_removing_what_is_gone_is_no_error(tmp_path):
    remove(tmp_path / "absent")
    drop_broken(tmp_path / "absent")


def test_the_folder_is_that_of_prefect(tmp_path):
    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "results"}):
        assert storage_folder() == tmp_path / "results"


def test_that_the_error_of_a_unit_is_no_result_is_not_said(monkeypatch):
    log = logging.getLogger("prefect.task_runs")
    with pytest.raises(TypeError) as refused:
        CheckedJSON().dumps(ValueError("row 7"))
    kept = "Failed to write result: %s Execution will continue, but the result has not been written"
    handler = logging.Handler()
    said = []
    handler.emit = lambda record: said.append(record.getMessage())
    # Handlers of Prefect that an earlier run has left would send the lines to its server.
    monkeypatch.setattr(log, "handlers", [handler])
    monkeypatch.setattr(log, "propagate", False)
    log.warning(kept, "Failed to serialize object of type 'ValueError' with serializer 'checked-json'.")
    log.warning(kept, "No space left on device.")
    assert "not JSON serializable" in str(refused.value)
    assert [text[:60] for text in said] == ["Failed to write result: No space left on device. Execution w"]
