import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.cache.fingerprints import fingerprint
from tasks.cache.units import content_digest, content_key, unit


def _context(module: str = "tasks.evaluate", name: str = "answer-set"):
    return SimpleNamespace(task=SimpleNamespace(name=name, fn=SimpleNamespace(__module__=module)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("one")
    return path


def test_the_key_follows_content_not_the_path(file, tmp_path):
    twin = tmp_path / "elsewhere.jsonl"
    twin.write_text("one")
    other = tmp_path / "other.jsonl"
    other.write_text("two")
    key = content_key(_context(), {"questions": file, "shots": 5})
    assert key == content_key(_context(), {"questions": twin, "shots": 5})
    assert key != content_key(_context(), {"questions": other, "shots": 5})


def test_the_key_follows_every_parameter_and_the_unit(file):
    keys = {
        content_key(_context(), {"questions": file, "shots": 5}),
        content_key(_context(), {"questions": file, "shots": 4}),
        content_key(_context(), {"questions": [file], "shots": 5}),
        content_key(_context(name="sentiment"), {"questions": file, "shots": 5}),
        content_key(_context(module="tasks.score"), {"questions": file, "shots": 5}),
    }
    assert len(keys) == 5


def test_what_a_unit_is_said_to_do_is_not_in_the_key(file):
    asked = {"questions": file, "shots": 5}
    assert content_key(_context(), asked | {"said": "cost of avss"}) == content_key(_context(), asked)


def test_an_edit_under_the_same_path_changes_the_digest(file):
    before = content_digest(file)
    stamp = file.stat()
    file.write_text("two")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert content_digest(file) != before


def test_a_folder_counts_with_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    before = content_digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert content_digest(tmp_path) != before


def test_a_missing_input_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        content_key(_context(), {"model": tmp_path / "absent.jsonl"})


def test_the_set_that_a_file_belongs_to_and_its_kind_are_in_the_key(file, tmp_path):
    """The default judge is that of the set, and a file of documents is read otherwise than one of rows."""
    other, kind = tmp_path / "wikiqa" / "rows.jsonl", tmp_path / "rows.json"
    other.parent.mkdir()
    for path in (other, kind):
        path.write_text("one")
    assert len({content_key(_context(), {"questions": path}) for path in (file, other, kind)}) == 3


def test_an_edit_that_keeps_size_and_time_of_change_is_seen(file):
    before, stamp = content_digest(file), file.stat()
    file.write_text("two")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert content_digest(file) != before


def test_the_key_ends_with_the_fingerprint_of_the_code(file):
    key = content_key(_context(), {"questions": file})
    assert key.endswith(fingerprint("tasks.evaluate")[:16])
    assert key.partition("answer-set-")[2][:48] != fingerprint("tasks.evaluate")[:48]


def test_a_unit_made_inside_of_a_function_is_refused():
    with pytest.raises(TypeError, match="the unit inner is made inside of a function"):

        @unit("inner")
        def inner():
            return file


def test_another_process_finds_a_unit_by_its_name_and_gets_none_of_its_module():
    import pickle

    from tasks.removal import removal_loss

    # Dask and Ray send functions by pickle, between processes of one run; nothing is kept that way.
    sent = pickle.dumps(removal_loss.fn)  # whose module holds a lock, which cannot be sent
    assert pickle.loads(sent) is removal_loss.fn
    assert len(sent) < 100
