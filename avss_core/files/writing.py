"""Files and folders that are written whole or not at all, and what a killed process left half written."""

import errno
import json
import os
import re
import reprlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_PART = re.compile(r"\..+\.(\d+)(?:-\w+)?\.part")
"""The hidden name of a file or folder while it is written; it holds the number of the process."""


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file with sorted keys, whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        PermissionError: the place is not writable.
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
        ValueError: the file is not valid JSON, or a key stands twice in one object; names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=keyed_once)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON (line {error.lineno}): {error.msg}") from error
    except RepeatedKeyError as error:
        raise ValueError(f"{path}: {error}; keep one of them") from error


class RepeatedKeyError(ValueError):
    """A key that stands more than once in a JSON object, of which Python's reader would take the last."""


def keyed_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, for `object_pairs_hook`.

    Raises:
        RepeatedKeyError: a key stands more than once.
    """
    value = dict(pairs)
    if len(value) < len(pairs):
        key, count = Counter(key for key, _ in pairs).most_common(1)[0]
        short = reprlib.repr(key)
        raise RepeatedKeyError(f"the key {short} stands {count} times in one object")
    return value


@contextmanager
def folder_written_whole(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that becomes `target` if the block ends without an error.

    Args:
        target: the folder to make.
        replace: whether an existing folder is replaced; otherwise it is refused.

    Raises:
        FileExistsError: the folder exists and is not empty, and `replace` is false.
        PermissionError: the place is not writable.
        OSError: the disk is full.
    """
    _refuse_existing(target, replace)
    with _part_beside(target) as part:
        yield part
        _refuse_existing(target, replace)  # another process may have written it meanwhile
        for path in part.rglob("*.safetensors"):
            path.chmod(0o644)
        if target.exists():
            shutil.rmtree(target)
        part.replace(target)


def _refuse_existing(target: Path, replace: bool) -> None:
    """Raise FileExistsError for a folder that is not empty, or a file, unless it is to be replaced."""
    if not replace and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} exists already; choose another folder or remove it")


@contextmanager
def file_written_whole(target: Path) -> Iterator[Path]:
    """Yield the path of a temporary file that becomes `target` if the block ends without an error.

    Args:
        target: the file to make; the yielded one has its name, and with it its ending.

    Raises:
        FileExistsError: the file exists.
        PermissionError: the place is not writable.
        OSError: the disk is full.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists already; choose another name or remove it")
    with _part_beside(target) as part:
        yield part / target.name
        (part / target.name).replace(target)
        part.rmdir()


@contextmanager
def _part_beside(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside a target; nothing is left of it, and of new folders, after an error."""
    new = [folder for folder in target.parents if not folder.exists()]
    part = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = part_folder(target)
        # mkdtemp and safetensors make private ones; a result is as readable as any other of the user.
        part.chmod(0o755)
        with disk_errors():
            yield part
    except BaseException as error:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
        for folder in new:
            with suppress(OSError):  # another process may have put something there
                folder.rmdir()
        if isinstance(error, OSError):
            _explain(error, target, part)
        raise


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn what safetensors, tokenizers and numpy raise when a file cannot be written into an OSError.

    Raises:
        OSError: a file could not be written.
    """
    try:
        yield
    except Exception as error:  # safetensors has a class of its own for it, tokenizers raises Exception
        code = re.search(r"\(os error (\d+)\)", str(error))
        number = int(code[1]) if code else None
        if isinstance(error, OSError):
            # numpy says how much was written and not why the rest was not.
            number = errno.ENOSPC if re.fullmatch(r"\d+ requested and \d+ written", str(error)) else None
        if number is None:
            raise
        raise OSError(number, os.strerror(number)) from error


def part_name(name: str) -> str:
    """Return the hidden name under which this process writes the file `name`."""
    return f".{name}.{os.getpid()}.part"


def part_folder(target: Path) -> Path:
    """Make a new folder beside `target`, in which this process writes what becomes `target`."""
    return Path(tempfile.mkdtemp(prefix=f".{target.name}.{os.getpid()}-", suffix=".part", dir=target.parent))


def sweep(*folders: Path) -> list[Path]:
    """Remove what ended processes left half written in and beside these folders, and return its paths."""
    left = [
        path
        for folder in folders
        for path in sorted([*folder.parent.glob(f".{folder.name}.*.part"), *folder.rglob(".*.part")])
        if (match := _PART.fullmatch(path.name)) and not psutil.pid_exists(int(match[1]))
    ]
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return left


def _explain(error: OSError, target: Path, part: Path | None) -> None:
    """Raise an error of the disk again, with the target's name and what to do; return for other errors."""
    if error.errno is None and isinstance(error.__cause__, OSError):
        error = error.__cause__  # a file in the folder failed, and its error was explained already
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
