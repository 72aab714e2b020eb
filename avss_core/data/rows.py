"""The files that `prepare` writes and later stages read: rows as JSON lines, documents as a JSON list."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from avss_core.files.writing import read_json, write_text

Row = dict[str, Any]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows))


def read_prepared(path: Path, first: int = 0, last: int | None = None) -> list[Row]:
    """Return the rows of a file that `write_rows` wrote, from `first` to before `last`."""
    return [json.loads(line) for line in _lines(path)[first:last]]


def row_shards(path: Path, limit: int | None, size: int) -> list[dict[str, int]]:
    """Return `first` and `last` of the shards, of at most `size` rows, of the first `limit` rows of a file.

    An empty file has one empty shard.
    """
    rows = len(_lines(path)[:limit])
    return [{"first": first, "last": min(first + size, rows)} for first in range(0, max(rows, 1), size)]


def read_documents(path: Path) -> list[str]:
    """Return the documents of a prepared text file."""
    return [str(document) for document in read_json(path)]


def _lines(path: Path) -> list[str]:
    """Return the lines of a file that hold a row."""
    # Not splitlines: JSON keeps some line separators as they are.
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line]


LEARNING_PARTS = (("train", 0.8), ("validation", 0.2))
"""The parts of a set that layers may be chosen on, and the share of the questions from each."""


def learning_files(folder: Path) -> dict[str, Path]:
    """Return the file of each of `LEARNING_PARTS` of a set."""
    return {part: folder / f"{part}.jsonl" for part, _ in LEARNING_PARTS}


def learning_rows(
    files: Mapping[str, Path], questions: int, where: Callable[[Row], bool] = lambda row: True
) -> Iterator[tuple[str, Row]]:
    """Yield (part, row) of a set's first rows that meet a condition, four fifths of them train questions.

    A part with too few such rows gives all of them.
    """
    for part, share in LEARNING_PARTS:
        rows = filter(where, read_prepared(files[part]))
        yield from ((part, row) for row in islice(rows, max(1, round(questions * share))))
