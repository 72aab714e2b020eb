"""The safetensors files of a checkpoint folder: the place of each tensor, and new files made of them."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from avss_core.files.containment import inside
from avss_core.files.digests import digest_tensor
from avss_core.files.writing import disk_errors, read_json, write_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_SHARD_SIZE = "5GB"
"""Largest size of a file that is copied tensor by tensor; a larger tensor has a file of its own."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class Stored:
    """One tensor of a file, not read."""

    file: Path
    name: str
    dtype: str
    """As safetensors writes it, such as F32."""
    shape: tuple[int, ...]
    size: int
    """Bytes."""


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Return every tensor of a checkpoint folder by name, from the headers of its files alone.

    Raises:
        FileNotFoundError: the folder has no safetensors weights, or lacks a file that its index names.
        ValueError: a file is damaged, or the index names a tensor that its file lacks, or a file that
            is not a safetensors file of the folder.
    """
    if (folder / SINGLE).is_file():
        return _tensors_of(folder / SINGLE)
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(_no_weights(folder))
    where = _weight_map(folder)
    tensors: dict[str, Stored] = {}
    for name in sorted(set(where.values())):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} lacks {name}, which {INDEX} names: put it there, or fetch the checkpoint again"
            )
        tensors |= _tensors_of(folder / name)
    for tensor, name in where.items():
        if tensor not in tensors or tensors[tensor].file.name != name:
            raise ValueError(
                f"{folder} is damaged: {INDEX} names the tensor {tensor} in {name}, which lacks it; fetch "
                "both files again"
            )
    return tensors


def write_shards(
    tensors: Mapping[str, Stored],
    folder: Path,
    *,
    parameters: int,
    max_shard_size: int | str = MAX_SHARD_SIZE,
) -> dict[str, str]:
    """Copy tensors under new names into files of limited size, and return the digest of each by new name.

    Source files are mapped, not loaded: at most one new file's tensors are in memory.

    Args:
        tensors: where each lies, by new name, in the order in which they fill the files.
        folder: gets the files, and an index if there are several.
        parameters: of the model, for the index.
        max_shard_size: bytes of a file at most, as a number or such as "5GB".

    Raises:
        OSError: a file cannot be written.
    """
    plan = split_state_dict_into_shards_factory(
        dict(tensors),
        get_storage_size=lambda tensor: tensor.size,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=max_shard_size,
    )
    digests: dict[str, str] = {}
    for name, members in plan.filename_to_tensors.items():
        with ExitStack() as stack, disk_errors():
            handles = {
                file: stack.enter_context(safe_open(file, framework="pt"))
                for file in sorted({tensors[member].file for member in members})
            }
            content = {m: handles[tensors[m].file].get_tensor(tensors[m].name) for m in members}
            digests |= {member: digest_tensor(tensor) for member, tensor in content.items()}
            save_file(content, folder / name, metadata={"format": "pt"})
    if plan.is_sharded:
        metadata = {"total_parameters": parameters, **plan.metadata}
        write_json(folder / INDEX, {"metadata": metadata, "weight_map": plan.tensor_to_filename})
    return digests


def digest_stored(tensor: Stored) -> str:
    """Return the digest of a tensor of a file."""
    with safe_open(tensor.file, framework="pt") as handle:
        return digest_tensor(handle.get_tensor(tensor.name))


def _tensors_of(file: Path) -> dict[str, Stored]:
    """Return the tensors of one file."""
    try:
        with safe_open(file, framework="pt") as handle:
            return {name: _stored(handle, file, name) for name in handle.offset_keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{file.parent} is damaged: {file.name} cannot be read ({error}); fetch the file again"
        ) from error


def _stored(handle: Any, file: Path, name: str) -> Stored:
    """Return the record of one tensor of an open file."""
    part = handle.get_slice(name)
    dtype, shape = part.get_dtype(), tuple(part.get_shape())
    size = int(re.sub(r"\D", " ", dtype).split()[0]) // 8 if dtype != "BOOL" else 1
    for length in shape:
        size *= length
    return Stored(file, name, dtype, shape, size)


def _weight_map(folder: Path) -> dict[str, str]:
    """Return tensor -> file of an index."""
    index = read_json(folder / INDEX)
    where = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(where, dict) or not where or not all(isinstance(file, str) for file in where.values()):
        raise ValueError(f"{folder} is damaged: {INDEX} has no map of tensors to files; fetch it again")
    if not isinstance(index.get("metadata"), dict):
        raise ValueError(
            f'{folder}: {INDEX} has no metadata, which transformers wants: add "metadata": {{}} to it'
        )
    for file in sorted(set(where.values())):
        if not file.endswith(".safetensors"):
            raise ValueError(
                f"{folder}: {INDEX} names {file!r}, which is no safetensors file and is not read"
            )
        inside(folder, file)
    return where


def _no_weights(folder: Path) -> str:
    """Return the message for a folder without safetensors weights."""
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    reason = f"it holds neither {SINGLE} nor {INDEX}"
    if pickles:
        reason = (
            f"its weights are pickles ({', '.join(pickles[:3])}), which can run code and are not read; load "
            "them where you trust them and save_pretrained writes safetensors"
        )
    return f"cannot load {folder}: {reason}. Give a checkpoint folder with safetensors weights."
