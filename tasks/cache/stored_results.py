"""Results of units on disk: each has a checksum, and a broken one is never used."""

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from prefect.logging import get_logger
from prefect.serializers import Serializer
from prefect.settings import get_current_settings
from pydantic import Field

_TYPE = "checked-json"


class _NotOfErrors(logging.Filter):
    """Drop Prefect's warning that the error which ended a unit could not be kept: it is no result."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is another one."""
        return not record.getMessage().startswith(
            "Failed to write result: Failed to serialize object of type"
        )


# In every process that runs units. A result that cannot be kept is an error, not this warning.
logging.getLogger("prefect.task_runs").addFilter(_NotOfErrors())


class CheckedJSON(Serializer):
    """JSON behind its SHA-256; Prefect treats a result without it as missing."""

    type: str = Field(default=_TYPE, frozen=True)

    def dumps(self, obj: Any) -> bytes:
        """Return the digest and the JSON text of a value."""
        text = json.dumps(obj).encode()
        return b"%s %s" % (hashlib.sha256(text).hexdigest().encode(), text)

    def loads(self, blob: bytes) -> Any:
        """Return the value of a text that `dumps` made.

        Raises:
            ValueError: the text is not what was written.
        """
        digest, _, text = blob.partition(b" ")
        if hashlib.sha256(text).hexdigest().encode() != digest:
            raise ValueError("its content does not have the checksum that it was written with")
        return json.loads(text)


def storage_folder() -> Path:
    """Return the folder of the results: PREFECT_LOCAL_STORAGE_PATH."""
    return Path(get_current_settings().results.local_storage_path)


def problem_of(entry: Path) -> str | None:
    """Return what is wrong with a stored result, None if it is whole."""
    if not entry.is_file():
        return "it is not a file"
    try:
        return _problem_in(json.loads(entry.read_bytes()), entry.name)
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    except ValueError:
        return "it is not JSON; it was cut off or written over"


def drop_broken(entry: Path) -> None:
    """Remove a stored result that is not whole, and log that its unit runs again."""
    if os.path.lexists(entry) and (problem := problem_of(entry)):
        get_logger("cache").warning("%s is computed again: %s", entry.name, problem)
        remove(entry)


def remove(entry: Path) -> None:
    """Remove a stored result, whatever lies in its place."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)


def _problem_in(record: Any, name: str) -> str | None:
    """Return what is wrong with the JSON value of a result of a name."""
    try:
        metadata, text = record["metadata"], record["result"].encode()
        kind, key = metadata["serializer"]["type"], Path(metadata["storage_key"]).name
    except (KeyError, TypeError, AttributeError):
        return "it does not have the parts of a result"
    if key != name:
        return "it holds the result of another key"
    if kind != _TYPE:
        return "it has no checksum"
    try:
        CheckedJSON().loads(text)
    except ValueError as error:
        return str(error)
    return None
