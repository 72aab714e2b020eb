import errno
import hashlib
import json
import math
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from torch import Tensor

from avss_core.files.digests import (
    digest_json,
    digest_path,
    digest_tensor,
    digest_tensors,
    folder_written_whole,
    read_json,
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


@given(JSON)
def test_json_digests_do_not_see_the_order_of_keys(value: Any) -> None:
    assert digest_json(reverse_keys(value)) == digest_json(value)


def test_json_digest_of_a_known_text() -> None:
    assert (
        digest_json({"b": [1, None], "a": "é"})
        == hashlib.sha256('{"a": "é", "b": [1, null]}'.encode()).hexdigest()
    )


@pytest.mark.parametrize("other", [{"a": [2, 1]}, {"a": [1, 2, 0]}, {"b": [1, 2]}, {"a": ["1", 2]}, [], None])
def test_json_digests_see_every_other_change(other: Any) -> None:
    assert digest_json(other) != digest_json({"a": [1, 2]})


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


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    for content in (b"", b"abc", bytes(range(256)) * 5000):
        path.write_bytes(content)
        assert digest_path(path) == hashlib.sha256(content).hexdigest()


def test_the_digest_of_a_folder_is_made_of_names_and_contents(tmp_path: Path) -> None:
    def make(name: str, files: dict[str, str]) -> str:
        for relative, content in files.items():
            path = tmp_path / name / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return digest_path(tmp_path / name)

    first = make("one", {"a.txt": "x", "sub/b.txt": "y"})
    assert make("another place", {"sub/b.txt": "y", "a.txt": "x"}) == first
    changes = [
        {"a.txt": "x", "sub/b.txt": "z"},
        {"a.txt": "y", "sub/b.txt": "x"},
        {"a.txt": "x", "b.txt": "y"},
        {"a.txt": "x"},
        {"a.txt": "x", "sub/b.txt": "y", "c.txt": ""},
    ]
    digests = {make(f"change {i}", files) for i, files in enumerate(changes)}
    assert len(digests | {first}) == len(changes) + 1


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.bin"):
        digest_path(tmp_path / "nothing.bin")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_a_tensor_digest_is_of_values_and_not_of_layout(dtype: torch.dtype) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    assert digest_tensor(tensor.t().contiguous().t()) == digest_tensor(tensor)
    assert digest_tensor(torch.cat([tensor, tensor])[2:]) == digest_tensor(tensor)
    assert digest_tensor(tensor.flip(0)) != digest_tensor(tensor)


def test_a_tensor_digest_sees_one_bit_the_shape_and_the_dtype() -> None:
    tensor = torch.zeros(4)
    changed = tensor.clone()
    changed[2] = -0.0
    others: list[Tensor] = [changed, tensor.reshape(2, 2), torch.zeros(4, dtype=torch.int32), torch.zeros(5)]
    assert len({digest_tensor(other) for other in [tensor, *others]}) == 5


def test_empty_scalar_and_trainable_tensors_have_digests() -> None:
    found = digest_tensors(
        {
            "empty": torch.zeros(0),
            "scalar": torch.tensor(0.0),
            "wide": torch.zeros(0, 3),
            "one": torch.zeros(1),
        }
    )
    assert len(set(found.values())) == 4
    assert digest_tensor(torch.zeros(1, requires_grad=True)) == found["one"]


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
