import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from avss_core.files import shards as shards_module
from avss_core.files.digests import digest_tensors
from avss_core.files.shards import INDEX, SINGLE, stored_tensors, write_shards
from avss_core.files.writing import read_json, write_json
from avss_core.models.loading import load_model

UP = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def sharded(tiny_llama: PreTrainedModel, tmp_path: Path) -> Path:
    folder = tmp_path / "sharded"
    tiny_llama.save_pretrained(folder, max_shard_size="90KB")
    return folder


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def test_headers_tell_where_each_tensor_lies(sharded: Path, checkpoint: Path) -> None:
    found, single = stored_tensors(sharded), stored_tensors(checkpoint)
    assert len(shards(sharded)) > 2
    assert found.keys() == single.keys()
    assert {name: stored.file.name for name, stored in found.items()} == read_json(sharded / INDEX)[
        "weight_map"
    ]
    assert {stored.file for stored in single.values()} == {checkpoint / SINGLE}
    assert (found[UP].dtype, found[UP].shape, found[UP].size) == ("F32", (64, 32), 64 * 32 * 4)


def test_sizes_are_those_of_the_dtype(tmp_path: Path) -> None:
    dtypes = {"F32": torch.float32, "BF16": torch.bfloat16, "I64": torch.int64, "BOOL": torch.bool,
              "F8_E4M3": torch.float8_e4m3fn}  # fmt: skip
    save_file({name: torch.zeros(3, 5).to(dtype) for name, dtype in dtypes.items()}, tmp_path / SINGLE)
    found = stored_tensors(tmp_path)
    assert {name: stored.dtype for name, stored in found.items()} == {name: name for name in dtypes}
    assert {name: stored.size for name, stored in found.items()} == {
        "F32": 60, "BF16": 30, "I64": 120, "BOOL": 15, "F8_E4M3": 15,
    }  # fmt: skip


def test_tensors_are_written_under_new_names_into_small_files(sharded: Path, tmp_path: Path) -> None:
    found = stored_tensors(sharded)
    out = tmp_path / "out"
    out.mkdir()
    digests = write_shards(
        {f"new.{name}": stored for name, stored in found.items()}, out, parameters=7, max_shard_size=50_000
    )
    assert len(shards(out)) > len(shards(sharded))
    index = read_json(out / INDEX)
    assert index["metadata"] == {
        "total_parameters": 7, "total_size": sum(stored.size for stored in found.values()),
    }  # fmt: skip
    written = {name: tensor for path in shards(out) for name, tensor in load_file(path).items()}
    source = {f"new.{name}": tensor for path in shards(sharded) for name, tensor in load_file(path).items()}
    assert digest_tensors(written) == digest_tensors(source) == digests
    for path in shards(out):
        content = load_file(path)
        assert sum(t.numel() * t.element_size() for t in content.values()) <= 50_000
        assert {index["weight_map"][name] for name in content} == {path.name}
        with safe_open(path, framework="pt") as handle:
            assert handle.metadata() == {"format": "pt"}


@pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="reads the memory of the process on Linux"
)
def test_memory_is_that_of_one_file_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 4 << 20
    save_file({f"{i}": torch.full((size // 4,), float(i)) for i in range(16)}, tmp_path / SINGLE)
    before, seen = own_memory(), []

    def watched(*arguments: Any, **options: Any) -> None:
        save_file(*arguments, **options)
        seen.append(own_memory() - before)

    monkeypatch.setattr(shards_module, "save_file", watched)
    out = tmp_path / "out"
    out.mkdir()
    write_shards(stored_tensors(tmp_path), out, parameters=1, max_shard_size=2 * size)
    assert len(seen) == 8
    assert max(seen) < 2 * size


def own_memory() -> int:
    """Return the bytes that this process holds and no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def test_one_file_has_no_index(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_shards(stored_tensors(checkpoint), out, parameters=7)
    assert [path.name for path in out.iterdir()] == [SINGLE]
    assert (out / SINGLE).read_bytes() == (checkpoint / SINGLE).read_bytes()


def test_a_missing_shard_is_named(sharded: Path) -> None:
    gone = shards(sharded)[1]
    gone.unlink()
    for read in (stored_tensors, lambda folder: load_model(str(folder))):
        with pytest.raises(FileNotFoundError, match=f"{sharded} lacks {gone.name}, which {INDEX} names"):
            read(sharded)


@pytest.mark.parametrize("size", [0, 5, 9000])
def test_a_shard_that_was_cut_off_is_named(sharded: Path, size: int) -> None:
    cut = shards(sharded)[1]
    os.truncate(cut, size)
    for read in (stored_tensors, lambda folder: load_model(str(folder))):
        with pytest.raises(ValueError, match=rf"{sharded} is damaged: {cut.name} cannot be read .*fetch"):
            read(sharded)


def test_a_tensor_that_its_file_lacks_is_named(sharded: Path) -> None:
    file = sharded / read_json(sharded / INDEX)["weight_map"][UP]
    tensors = load_file(file)
    del tensors[UP]
    save_file(tensors, file, metadata={"format": "pt"})
    for read in (stored_tensors, lambda folder: load_model(str(folder))):
        with pytest.raises(ValueError, match=f"names the tensor {UP} in {file.name}, which lacks it; fetch"):
            read(sharded)


def test_a_tensor_in_another_file_than_the_index_says_is_named(sharded: Path) -> None:
    index = read_json(sharded / INDEX)
    other = shards(sharded)[-1].name
    index["weight_map"][UP] = other
    write_json(sharded / INDEX, index)
    with pytest.raises(ValueError, match=f"names the tensor {UP} in {other}, which lacks it"):
        stored_tensors(sharded)


@pytest.mark.parametrize("index", [[], {}, {"weight_map": {}}, {"weight_map": {"x": 1}}, {"weight_map": [1]}])
def test_an_index_without_a_map_is_named(sharded: Path, index: object) -> None:
    write_json(sharded / INDEX, index)
    with pytest.raises(ValueError, match=f"{sharded} is damaged: {INDEX} has no map"):
        stored_tensors(sharded)


def test_an_index_without_metadata_comes_with_the_cure(sharded: Path) -> None:
    index = read_json(sharded / INDEX)
    write_json(sharded / INDEX, {"weight_map": index["weight_map"]})
    with pytest.raises(ValueError, match=f'{INDEX} has no metadata.*: add "metadata": {{}} to it'):
        stored_tensors(sharded)
    write_json(sharded / INDEX, {"weight_map": index["weight_map"], "metadata": {}})
    assert stored_tensors(sharded)
    AutoModelForCausalLM.from_pretrained(sharded)


def test_an_index_that_is_no_json_is_named(sharded: Path) -> None:
    (sharded / INDEX).write_text("{")
    with pytest.raises(ValueError, match=f"{INDEX} is not valid JSON"):
        stored_tensors(sharded)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("../model-00001-of-00002.safetensors", "does not name a file below"),
        ("/etc/model.safetensors", "does not name a file below"),
        ("part/../../model.safetensors", "does not name a file below"),
        ("pytorch_model-00001-of-00002.bin", "is no safetensors file and is not read"),
        ("linked.safetensors", "is a link that leads out of"),
    ],
)
def test_an_index_that_leads_out_of_the_folder_is_refused(sharded: Path, file: str, message: str) -> None:
    outside = sharded.parent / "model-00001-of-00002.safetensors"
    save_file({UP: torch.zeros(1)}, outside)
    if file == "linked.safetensors":
        (sharded / file).symlink_to(outside)
    index = read_json(sharded / INDEX)
    index["weight_map"][UP] = file
    write_json(sharded / INDEX, index)
    for read in (stored_tensors, lambda folder: load_model(str(folder))):
        with pytest.raises(ValueError, match=message):
            read(sharded)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth"])
def test_pickles_alone_are_refused_by_name(checkpoint: Path, name: str) -> None:
    shutil.move(checkpoint / SINGLE, checkpoint / name)
    for read in (stored_tensors, lambda folder: load_model(str(folder))):
        with pytest.raises(
            FileNotFoundError,
            match=rf"its weights are pickles \({name}\).*save_pretrained writes",
        ):
            read(checkpoint)


def test_a_folder_without_weights_is_named(checkpoint: Path) -> None:
    (checkpoint / SINGLE).unlink()
    with pytest.raises(FileNotFoundError, match=f"cannot load {checkpoint}: it holds neither {SINGLE} nor"):
        stored_tensors(checkpoint)
