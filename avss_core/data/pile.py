"""Text from the Pile or its HackerNews part, streamed from the Hugging Face Hub."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from avss_core.data.hub_sets import reaching

SUBSETS: Mapping[str, str | None] = {"pile": None, "hackernews": "HackerNews"}
"""The `meta.pile_set_name` of the rows of each of our texts; None takes every row."""

REPO = "monology/pile-uncopyrighted"
"""The Pile (arXiv 2101.00027) without five of its 22 parts, which are under copyright; EleutherAI's own copy
is no longer on the Hub."""

REVISION = "3be90335b66f24456a5d6659d9c8d208c0357119"
"""The commit that public projects pin and whose files they list; not checked against the Hub itself."""

FILES: Mapping[str, str] = {"calibration": "val.jsonl.zst", "test": "test.jsonl.zst"}
"""The public file behind each of our parts."""

LONGEST = 10_000
"""Characters kept of a document, so that one book is not the whole text."""

LARGEST = 64 << 20
"""Most bytes of a row: a few kilobytes of a packed file can unpack to a row that no memory holds."""


def pile_text(name: str, characters: int) -> dict[str, list[str]]:
    """Return the first documents of the Pile's validation and test files, as "calibration" and "test".

    Args:
        name: a key of `SUBSETS`.
        characters: length of a part, at which no more documents are taken.

    Raises:
        ConnectionError: the Hub cannot be reached.
        ValueError: a file has no such document, or is not what was published.
    """
    parts: dict[str, list[str]] = {}
    for part, file in FILES.items():
        with reaching(REPO):
            # The public parts repeat some documents: ours are disjoint.
            taken = take(_stream(file), SUBSETS[name], characters, parts.get("calibration", []))
        if not taken:
            raise ValueError(f"{REPO} {file}: no document of {name}")
        parts[part] = taken
    return parts


def take(
    rows: Iterable[Mapping[str, Any]], subset: str | None, characters: int, seen: Iterable[str] = ()
) -> list[str]:
    """Return the first distinct documents of a subset that have enough characters together.

    No row after them is read, and a document is cut after `LONGEST` characters.

    Args:
        rows: rows of the Pile, with `text` and `meta`.
        subset: `pile_set_name` of the rows to take, None for all.
        characters: how many are enough.
        seen: documents to leave out.
    """
    left_out, taken, total = set(seen), dict[str, None](), 0
    for row in rows:
        if subset is not None and row["meta"]["pile_set_name"] != subset:
            continue
        # JSON can hold half a character, and no file or tokenizer can.
        text = row["text"][:LONGEST].encode("utf-8", "replace").decode()
        if not text.strip() or text in left_out or text in taken:
            continue
        taken[text] = None
        total += len(text)
        if total >= characters:
            break
    return list(taken)


def _stream(file: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a file of the pinned revision while it is fetched."""
    from huggingface_hub import HfFileSystem

    with HfFileSystem().open(f"datasets/{REPO}@{REVISION}/{file}", "rb") as packed:
        yield from unpacked(packed, f"{REPO} {file}")


def unpacked(packed: Any, where: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a compressed JSON Lines file, one in memory at a time.

    Args:
        packed: the file, open to read bytes.
        where: name of the file in an error.

    Raises:
        ValueError: the file cannot be unpacked, or a row is not a JSON object or larger than `LARGEST`.
    """
    # Imported here: the settings read the names of this module, and an extra brings the package.
    from zstandard import ZstdDecompressor, ZstdError

    raw: Any = ZstdDecompressor().stream_reader(packed, read_across_frames=True)
    lines = io.BufferedReader(raw)
    try:
        while line := lines.readline(LARGEST + 1):
            if len(line) > LARGEST:
                raise ValueError(f"a row has more than {LARGEST} bytes")
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("a row is not a JSON object")
            yield row
    except (ZstdError, ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not what was published: {error}") from error
