import hashlib
import os
from types import SimpleNamespace

import pytest
from ruamel.yaml import YAML

from flows.running.mending import ROOM, check_room, drop_damaged_objects, mend


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("flows.running.mending.PAUSE", 0.0)


LOCK = {"schema": "2.0", "stages": {"score": {"cmd": "python", "outs": [{"path": "a", "md5": "b"}]}}}


def _lock(root):
    with (root / "dvc.lock").open("w") as handle:
        YAML().dump(LOCK, handle)
    return root / "dvc.lock"


def _object(root, content, suffix=""):
    digest = hashlib.md5(content).hexdigest()
    path = root / ".dvc/cache/files/md5" / digest[:2] / f"{digest[2:]}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o444)
    return path


def _garble(path, content):
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


def test_a_repository_in_order_stays_as_it_is(tmp_path):
    content = _lock(tmp_path).read_bytes()
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / ".dvc/tmp/rwlock").write_text('{"read": {}}')
    assert list(mend(tmp_path)) == []
    assert (tmp_path / "dvc.lock").read_bytes() == content
    assert (tmp_path / ".dvc/tmp/rwlock").is_file()


def test_a_lock_that_was_cut_off_anywhere_goes_and_is_named(tmp_path):
    content = _lock(tmp_path).read_text()
    whole = YAML(typ="safe").load(content)
    for length in range(len(content.rstrip())):
        (tmp_path / "dvc.lock").write_text(content[:length])
        said = list(mend(tmp_path))
        if said:
            assert "dvc.lock" in said[0]
            assert not (tmp_path / "dvc.lock").exists()
        else:
            # What is left is an entry with fewer values, which DVC finds changed.
            assert YAML(typ="safe").load(tmp_path / "dvc.lock") != whole
    for text in ("", "stages:\n", "- a\n", "\0\0"):
        (tmp_path / "dvc.lock").write_text(text)
        assert len(list(mend(tmp_path))) == 1


def test_a_waiting_list_that_was_cut_off_goes(tmp_path):
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / ".dvc/tmp/rwlock").write_text('{"read": {')
    assert list(mend(tmp_path)) == ["removed .dvc/tmp/rwlock, which was cut off"]
    assert not (tmp_path / ".dvc/tmp/rwlock").exists()


def test_damaged_objects_go_and_whole_ones_stay(tmp_path):
    (tmp_path / ".prefect").mkdir()
    whole, folder = _object(tmp_path, b"whole"), _object(tmp_path, b"[]", ".dir")
    damaged = _object(tmp_path, b"damaged")
    _garble(damaged, b"garbled")
    (line,) = drop_damaged_objects(tmp_path)
    assert str(damaged.relative_to(tmp_path)) in line
    assert whole.is_file()
    assert folder.is_file()
    assert not damaged.exists()
    # It is found later as well.
    _garble(whole, b"whole, and more")
    assert len(list(drop_damaged_objects(tmp_path))) == 1
    assert list(drop_damaged_objects(tmp_path)) == []


def test_an_object_is_read_again_only_where_its_size_or_time_is_new(tmp_path):
    (tmp_path / ".prefect").mkdir()
    path = _object(tmp_path, b"content")
    stamp = path.stat()
    assert list(drop_damaged_objects(tmp_path)) == []
    _garble(path, b"CONTENT")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert list(drop_damaged_objects(tmp_path)) == []
    os.utime(path)
    assert len(list(drop_damaged_objects(tmp_path))) == 1


def test_a_damaged_record_of_objects_is_made_anew(tmp_path):
    (tmp_path / ".prefect").mkdir()
    _object(tmp_path, b"content")
    for content in (b"{", b"[]", b"\xff"):
        (tmp_path / ".prefect/cache-objects.json").write_bytes(content)
        assert list(drop_damaged_objects(tmp_path)) == []


def test_a_file_that_is_just_being_written_stays(tmp_path, monkeypatch):
    content = _lock(tmp_path).read_text()
    (tmp_path / "dvc.lock").write_text("")
    monkeypatch.setattr(
        "flows.running.mending.time.sleep", lambda _seconds: (tmp_path / "dvc.lock").write_text(content)
    )
    assert list(mend(tmp_path)) == []
    assert (tmp_path / "dvc.lock").read_text() == content


def test_a_full_disk_is_said_before_dvc_starts(tmp_path, monkeypatch):
    (tmp_path / ".dvc").mkdir()
    check_room(tmp_path)
    monkeypatch.setattr(
        "flows.running.mending.shutil.disk_usage", lambda _path: SimpleNamespace(free=ROOM - 1)
    )
    with pytest.raises(OSError, match="No space left on device"):
        check_room(tmp_path)
