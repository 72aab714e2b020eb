import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.units import content_digest, content_key, fingerprint


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


def test_the_fingerprint_follows_what_the_module_imports_and_nothing_else(monkeypatch):
    fingerprint.cache_clear()
    before = {name: fingerprint(name) for name in ("tasks.evaluate", "tasks.collect")}
    from tasks import units

    real = units._source_digest
    monkeypatch.setattr(
        units, "_source_digest", lambda name: "edited" if name == "avss_core.perplexity" else real(name)
    )
    fingerprint.cache_clear()
    after = {name: fingerprint(name) for name in before}
    fingerprint.cache_clear()
    assert after["tasks.evaluate"] != before["tasks.evaluate"]
    assert after["tasks.collect"] == before["tasks.collect"]


@pytest.mark.parametrize("cut", ["", "{", '{"metadata": {}}', '{"metadata": {}, "result": "{"}'])
def test_an_entry_that_was_cut_off_is_removed_and_a_whole_one_stays(file, tmp_path, cut):
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path}):
        entry = tmp_path / content_key(_context(), {"questions": file})
        entry.write_text('{"metadata": {}, "result": "[1]"}')
        content_key(_context(), {"questions": file})
        assert entry.is_file()
        entry.write_text(cut)
        content_key(_context(), {"questions": file})
        assert not entry.exists()


def test_another_process_finds_a_unit_by_its_name_and_gets_none_of_its_module():
    import pickle

    from tasks.removal import removal_loss

    sent = pickle.dumps(removal_loss.fn)  # whose module holds a lock, which cannot be sent
    assert pickle.loads(sent) is removal_loss.fn
    assert len(sent) < 100
