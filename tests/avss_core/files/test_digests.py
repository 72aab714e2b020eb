import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from avss_core.files.digests import digest_json, digest_path, digest_tensor, digest_tensors

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def reverse_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reverse_keys(value[key]) for key in reversed(value)}
    return [reverse_keys(item) for item in value] if isinstance(value, list) else value


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
