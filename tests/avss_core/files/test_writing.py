import errno
import json
import math
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import PreTrainedTokenizerFast

from avss_core.files.digests import digest_json
from avss_core.files.writing import (
    disk_errors,
    folder_written_whole,
    part_folder,
    part_name,
    read_json,
    sweep,
    write_json,
    write_text,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def reverse_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reverse_keys(value[key]) for key in reversed(value)}
    return [reverse_keys(item) for item in value] if isinstance(value, list) else value


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_json_lacks_are_refused(tmp_path: Path, bad: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_json({"loss": bad})
    path = tmp_path / "a.json"
    write_json(path, {"loss": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"loss": bad})
    assert read_json(path) == {"loss": 1}
    assert names(tmp_path) == ["a.json"]


@given(value=JSON)
def test_json_files_give_their_value_back(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value
    first = path.read_bytes()
    write_json(path, reverse_keys(value))
    assert path.read_bytes() == first


def test_writing_makes_the_parents_and_leaves_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "report.md"
    write_text(path, "first, longer")
    write_text(path, "zweite\n")
    assert path.read_bytes() == b"zweite\n"
    assert names(path.parent) == ["report.md"]


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["report.md"]


def test_a_file_that_is_no_json_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(ValueError, match=r"scores\.json is not valid JSON \(line 2\)"):
        read_json(path)
    with pytest.raises(FileNotFoundError, match=r"other\.json"):
        read_json(tmp_path / "other.json")


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "results" / "model"
    with folder_written_whole(target) as part:
        write_json(part / "a.json", 1)
        assert not target.exists()
        assert part.parent == target.parent, "a rename must not cross file systems"
    assert names(target) == ["a.json"]
    assert names(target.parent) == ["model"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_a_folder_that_failed_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with folder_written_whole(tmp_path / "model") as part:
            write_text(part / "half" / "weights", "x")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert names(tmp_path) == []


def test_an_interrupted_replacement_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    write_json(target / "old.json", 1)

    def interrupt() -> None:
        with folder_written_whole(target, replace=True) as part:
            write_json(part / "new.json", 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert names(target) == ["old.json"]
    assert names(tmp_path) == ["model"]


def test_replacing_drops_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for name in ("old.json", "new.json"):
        with folder_written_whole(target, replace=True) as part:
            write_json(part / name, 1)
    assert names(target) == ["new.json"]


def test_an_existing_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "weights").write_text("precious")
    with pytest.raises(FileExistsError, match="model exists already"), folder_written_whole(target):
        pytest.fail("the block must not start")
    assert (target / "weights").read_text() == "precious"
    assert names(tmp_path) == ["model"]


def test_a_folder_that_another_process_wrote_meanwhile_stays(tmp_path: Path) -> None:
    target = tmp_path / "model"
    refused = pytest.raises(FileExistsError, match="model exists already")
    with refused, folder_written_whole(target) as part:
        write_json(part / "ours.json", 1)
        target.mkdir()
        (target / "weights").write_text("theirs")
    assert names(target) == ["weights"]
    assert names(tmp_path) == ["model"]


def test_a_file_in_the_place_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.write_text("precious")
    with pytest.raises(FileExistsError, match="model exists already"), folder_written_whole(target):
        pytest.fail("the block must not start")
    assert target.read_text() == "precious"


def test_an_empty_folder_in_the_place_is_no_obstacle(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    with folder_written_whole(target) as part:
        write_json(part / "a.json", json.loads("[]"))
    assert names(target) == ["a.json"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("where", ["model", "deep/er/model"])
def test_a_full_disk_leaves_nothing_and_says_what_to_do(tmp_path: Path, code: int, where: str) -> None:
    def fill() -> None:
        with folder_written_whole(tmp_path / where) as part:
            write_json(part / "half.json", 1)
            raise OSError(code, os.strerror(code))

    with pytest.raises(
        OSError, match=f"cannot write {tmp_path / where}: {os.strerror(code)}; free some space"
    ):
        fill()
    assert names(tmp_path) == []


def test_a_full_disk_that_safetensors_meets_is_said_in_the_same_words(tmp_path: Path) -> None:
    text = f"Error while serializing: I/O error: {os.strerror(errno.ENOSPC)} (os error {errno.ENOSPC})"

    def fill(message: str) -> None:
        with folder_written_whole(tmp_path / "model"):
            raise SafetensorError(message)

    with pytest.raises(OSError, match=f"cannot write {tmp_path / 'model'}: .*; free some space"):
        fill(text)
    with pytest.raises(SafetensorError, match="header"):
        fill("invalid header")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "advice"), [(errno.ENOSPC, "free some space"), (errno.EROFS, "make .* writable")]
)
def test_a_file_that_cannot_be_written_is_named_and_so_is_a_folder_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, advice: str
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        path.touch()
        raise OSError(code, os.strerror(code), str(path))

    def inside() -> None:
        with folder_written_whole(tmp_path / "model") as part:
            write_json(part / "half.json", 1)

    monkeypatch.setattr(Path, "write_text", refuse)
    said = f"cannot write {tmp_path}/%s: {os.strerror(code)}; {advice}"
    with pytest.raises(OSError, match=said % "a.json"):
        write_json(tmp_path / "a.json", 1)
    with pytest.raises(OSError, match=said % "model"):
        inside()
    assert names(tmp_path) == []


def test_a_place_that_must_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / ".model.part"))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    for target in (tmp_path / "model", tmp_path / "new" / "model"):
        with (
            pytest.raises(
                PermissionError,
                match=f"cannot write {target}: Permission denied; make {target.parent} writable",
            ),
            folder_written_whole(target),
        ):
            pytest.fail("the block must not start")  # fmt: skip
    assert names(tmp_path) == []


def test_an_error_of_another_file_is_not_blamed_on_the_folder(tmp_path: Path) -> None:
    error = PermissionError(errno.EACCES, "no", str(tmp_path / "source" / "x"))
    with pytest.raises(PermissionError) as caught, folder_written_whole(tmp_path / "model"):
        raise error
    assert caught.value is error
    assert names(tmp_path) == []


def test_weights_are_as_readable_as_the_rest(tmp_path: Path) -> None:
    with folder_written_whole(tmp_path / "model") as part:
        (part / "x.safetensors").touch(0o600)
    assert (tmp_path / "model" / "x.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_file_that_cannot_be_written_is_an_error_of_the_disk(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(FileNotFoundError), disk_errors():
        save_file({"x": torch.zeros(1)}, tmp_path / "gone" / "x.safetensors")
    with pytest.raises(FileNotFoundError), disk_errors():
        tokenizer.backend_tokenizer.save(str(tmp_path / "gone" / "tokenizer.json"))


@pytest.mark.parametrize("error", [ValueError("other"), PermissionError(13, "(os error 28)")])
def test_other_errors_pass_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, disk_errors():
        raise error
    assert caught.value is error


def gone() -> int:
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def test_what_a_process_that_is_gone_left_half_written_is_removed_however_deep(tmp_path):
    pid = gone()
    file = tmp_path / "deep" / f".scores.json.{pid}.part"
    folder = tmp_path / f".pruned.{pid}-a1b2.part"
    inside = folder / f".config.json.{pid}.part"
    for path in (file, inside):
        path.parent.mkdir(parents=True)
        path.write_text("{")
    assert set(sweep(tmp_path)) == {file, folder, inside}
    assert [path.name for path in tmp_path.rglob("*")] == ["deep"]


def test_what_was_to_become_the_folder_itself_is_removed_beside_it_and_what_was_to_be_another_is_not(
    tmp_path,
):
    pid = gone()
    reports, other = tmp_path / f".reports.{pid}-a1b2.part", tmp_path / f".reports2.{pid}-a1b2.part"
    for path in (reports, other):
        (path / "figures").mkdir(parents=True)
    assert sweep(tmp_path / "reports") == [reports]
    assert [path.name for path in tmp_path.iterdir()] == [other.name]


def test_what_a_process_still_writes_stays(tmp_path):
    (tmp_path / part_name("scores.json")).write_text("{")
    folder = part_folder(tmp_path / "pruned")
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as other:
        (tmp_path / f".sizes.json.{other.pid}.part").write_text("{")
        assert sweep(tmp_path) == []
        other.communicate(b"\n")
    assert folder.is_dir()
    assert [path.name for path in sweep(tmp_path)] == [f".sizes.json.{other.pid}.part"]


def test_no_other_file_is_taken_for_a_leftover(tmp_path):
    for name in ("scores.json", ".hidden", f"scores.json.{gone()}.part", ".part", ".a.part", ".a.b.part"):
        (tmp_path / name).write_text("")
    assert sweep(tmp_path, tmp_path / "not there") == []


def test_a_name_tells_its_process(tmp_path):
    assert part_name("a.json") == f".a.json.{os.getpid()}.part"
    assert part_folder(tmp_path / "dense").name.startswith(f".dense.{os.getpid()}-")
