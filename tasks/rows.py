"""The files that `prepare` writes and later stages read: rows as JSON lines, documents as a JSON list."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from avss_core.digests import read_json, write_text

Row = dict[str, Any]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows))


def read_prepared(path: Path) -> list[Row]:
    """Return the rows of a file that `write_rows` wrote."""
    # Not splitlines: a text may hold a line separator that JSON leaves as it is.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def read_documents(path: Path) -> list[str]:
    """Return the documents of a prepared text file."""
    return [str(document) for document in read_json(path)]
