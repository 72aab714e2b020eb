"""Results in a folder: what a stopped sweep measured, and a later one need not measure again."""

import platform
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from avss_core.files.digests import digest_json, digest_path
from avss_core.files.writing import read_json, write_json

T = TypeVar("T")

LIBRARIES = ("torch", "transformers", "numpy")
"""Packages whose version may change a number."""


class KeptPoints:
    """Small JSON results by the content of all that they depend on; a file each, written whole or not at all.

    The name of a file holds the kind of result and a digest of its parameters, of the code of this package
    and of the versions of `LIBRARIES` and Python. A file that is damaged is made again.
    """

    def __init__(self, folder: Path, subject: Any) -> None:
        """Name the folder, which is made when something is kept, and what all results are of.

        Args:
            folder: any; several sweeps may share it.
            subject: JSON value that every key holds, such as the digest of the model.
        """
        self.folder, self._subject = folder, subject
        self.made: list[str] = []
        """Kinds of the results that this object has made, in order; those that were kept are not in it."""

    def get(self, kind: str, parameters: Mapping[str, Any], make: Callable[[], T]) -> T:
        """Return a result that is kept, or make and keep it.

        Args:
            kind: what it is, such as "loss"; starts the name of the file.
            parameters: JSON values that decide it, beside the subject.
            make: returns a JSON value.

        Raises:
            OSError: the file cannot be written.
            ValueError: the result holds a number that is not finite.
        """
        key = digest_json([kind, dict(parameters), self._subject, code_digest()])
        path = self.folder / f"{kind}-{key[:20]}.json"
        kept = _read(path, key)
        if kept is not None:
            value: T = kept["value"]
            return value
        value = make()
        self.made.append(kind)
        write_json(path, {"key": key, "digest": digest_json(value), "value": value})
        return value


@cache
def code_digest() -> str:
    """Return the digest of this package's files, of the libraries' versions and of Python's."""
    package = Path(__file__).resolve().parents[1]
    files = sorted(path for path in package.rglob("*") if path.suffix in {".py", ".json"})
    code = [[path.relative_to(package).as_posix(), digest_path(path)] for path in files]
    return digest_json([code, [version(name) for name in LIBRARIES], platform.python_version()])


def _read(path: Path, key: str) -> Any:
    """Return what a file holds, None if it is not there or is not what was written."""
    try:
        kept = read_json(path)
        whole = isinstance(kept, dict) and kept.keys() == {"key", "digest", "value"} and kept["key"] == key
        return kept if whole and kept["digest"] == digest_json(kept["value"]) else None
    except (FileNotFoundError, ValueError):  # a number that is not finite is a ValueError, too
        return None
