"""SHA-256 of JSON values, files, folders and tensors."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def digest_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_path(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's relative names and contents.

    Raises:
        FileNotFoundError: nothing is there.
    """
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        return digest_json([[p.relative_to(path).as_posix(), digest_path(p)] for p in files])
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_tensor(tensor: Tensor) -> str:
    """Return the SHA-256 of a tensor's bytes, shape and dtype."""
    plain = tensor.detach().cpu().contiguous()
    hasher = hashlib.sha256(f"{plain.dtype}{tuple(plain.shape)}".encode())
    hasher.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def digest_tensors(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the digest of each named tensor."""
    return {name: digest_tensor(tensor) for name, tensor in tensors.items()}
