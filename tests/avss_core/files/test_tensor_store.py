from pathlib import Path

import pytest
import torch

from avss_core.files.tensor_store import TensorStore, tensor_store

ITEMS = {
    (1, 2): {"a": torch.arange(4.0), "b": torch.tensor([1], dtype=torch.int32)},
    (3,): {"a": torch.ones(2)},
}


@pytest.mark.parametrize("limit", [0, 20, 28, 1000])
def test_what_goes_in_comes_out_whatever_the_limit(tmp_path: Path, limit: int) -> None:
    store = TensorStore(tmp_path / "store", limit)
    store.put({(1, 2): ITEMS[1, 2]})
    store.put({(3,): ITEMS[3,]})
    assert store.held == {0: 0, 20: 20, 28: 28, 1000: 28}[limit]
    for key, tensors in ITEMS.items():
        assert key in store
        found = store.get(key)
        assert found.keys() == tensors.keys()
        assert all(torch.equal(tensor, found[name]) for name, tensor in tensors.items())
        assert all(tensor.dtype == found[name].dtype for name, tensor in tensors.items())
    assert (4,) not in store
    with pytest.raises(KeyError):
        store.get((4,))


def test_items_of_one_call_share_a_file_and_no_name(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, 0)
    store.put(ITEMS)
    store.put({"more": ITEMS[3,]})
    assert len([*tmp_path.glob("*.safetensors")]) == 2
    assert torch.equal(store.get((1, 2))["a"], torch.arange(4.0))
    assert torch.equal(store.get("more")["a"], torch.ones(2))


def test_a_part_of_a_tensor_does_not_keep_the_whole(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, 1000)
    store.put({"x": {"a": torch.zeros(1000, 4)[:1]}})
    assert store.get("x")["a"].untyped_storage().nbytes() == 16


def test_files_are_gone_afterwards_and_those_of_a_killed_run_before(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "0.safetensors").write_bytes(b"half")
    context = tensor_store(folder, 0)
    store = context.__enter__()
    assert not folder.exists()
    store.put(ITEMS)
    assert folder.exists()
    assert not context.__exit__(RuntimeError, RuntimeError(), None)
    assert not folder.exists()
    with tensor_store(None, 0) as store:
        store.put(ITEMS)
        place = store.folder
        assert place.exists()
    assert not place.exists()
