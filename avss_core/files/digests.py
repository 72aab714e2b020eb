"""Content digests of files, folders and tensors, and files that are written whole or not at all."""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from avss_core.files.leftovers import part_folder, part_name

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


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


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file with sorted keys, whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        PermissionError: nothing may be written there.
        OSError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(part_name(path.name))
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        _explain(error, path, part)
        raise
    finally:
        with suppress(OSError):  # where nothing can be written nothing can be removed
            part.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: the file is not valid JSON; names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON (line {error.lineno}): {error.msg}") from error


@contextmanager
def folder_written_whole(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that becomes `target` if the block ends without an error.

    Args:
        target: the folder to make.
        replace: an existing folder is replaced; else it is refused.

    Raises:
        FileExistsError: the folder is there and not empty, and `replace` is false.
        PermissionError: nothing may be written there.
        OSError: the disk is full.
    """
    if not replace and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} exists already; choose another folder or remove it")
    new = [folder for folder in target.parents if not folder.exists()]
    part = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = part_folder(target)
        # mkdtemp and safetensors make private ones; a result is as readable as any other of the user.
        part.chmod(0o755)
        yield part
        for path in part.rglob("*.safetensors"):
            path.chmod(0o644)
        if target.exists():
            shutil.rmtree(target)
        part.replace(target)
    except BaseException as error:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
        for folder in new:
            with suppress(OSError):  # another process may have put something there
                folder.rmdir()
        if refused := _of_system(error):
            _explain(refused, target, part)
        raise


def _of_system(error: BaseException) -> OSError | None:
    """Return the system's error in another one; safetensors tells its number in the text alone."""
    if isinstance(error, SafetensorError) and (found := re.search(r"\(os error (\d+)\)", str(error))):
        return OSError(int(found[1]), os.strerror(int(found[1])))
    return error if isinstance(error, OSError) else None


def _explain(error: OSError, target: Path, part: Path | None) -> None:
    """Raise an error of the disk again with what was to be made and what to do; let others pass."""
    if error.errno is None and isinstance(error.__cause__, OSError):
        error = error.__cause__  # of a file in the folder, which was explained by its name
    if error.errno in _FULL:
        raise OSError(
            f"cannot write {target}: {os.strerror(error.errno)}; free some space or name a folder on another "
            "disk. Nothing was left behind."
        ) from error
    ours = part is None or str(error.filename).startswith(str(part))
    if error.errno in _FORBIDDEN and ours:
        raise PermissionError(
            f"cannot write {target}: {os.strerror(error.errno)}; make {target.parent} writable or name "
            "another folder"
        ) from error
