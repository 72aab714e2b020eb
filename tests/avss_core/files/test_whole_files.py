from pathlib import Path

import pytest

from avss_core.files.writing import file_written_whole


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "model.gguf"
    with file_written_whole(target) as part:
        part.write_bytes(b"abc")
        assert (part.name, target.exists()) == ("model.gguf", False)
    assert target.read_bytes() == b"abc"
    assert [path.name for path in target.parent.iterdir()] == ["model.gguf"]


def test_a_file_that_failed_leaves_nothing(tmp_path: Path) -> None:
    def stop() -> None:
        with file_written_whole(tmp_path / "new" / "a.gguf") as part:
            part.write_bytes(b"abc")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_text("mine")
    with (
        pytest.raises(FileExistsError, match=r"a.gguf exists already"),
        file_written_whole(tmp_path / "a.gguf"),
    ):
        pytest.fail("it was begun")
    assert (tmp_path / "a.gguf").read_text() == "mine"


def test_a_full_disk_that_numpy_meets_is_said_in_the_same_words(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"cannot write .*a.gguf: .*; free some space"),
        file_written_whole(tmp_path / "a.gguf"),
    ):
        raise OSError("90112 requested and 79488 written")  # as ndarray.tofile does
    assert list(tmp_path.iterdir()) == []
