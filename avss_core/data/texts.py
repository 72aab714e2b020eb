"""Text for language modelling: its documents, split into a part for calibration and one for the test."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from avss_core.data.schemas import DOCUMENTS, read_rows, read_text
from avss_core.evaluation.splits import stable_fraction

Parts = dict[str, list[str]]
"""Documents by "calibration" and "test"."""

TEXT_FILES = {"calibration": "valid.txt", "test": "test.txt"}
"""The file of each part, in the folder of a text."""

TOPICS = "topics.jsonl"
"""The sample's text: one topic of the Python language a row, with its name."""

FILE_TEXTS = (".txt", ".md", ".jsonl")
"""Suffixes of a text that is one file."""

CALIBRATION_SHARE = 0.4
"""Share of the language topics, or of the characters of one file, for calibration."""

# A WikiText article begins at a line " = Title = " after a blank line. Formulas look alike but follow text,
# and section headings have two or more equals signs.
_ARTICLE = re.compile(r"^(?= ?\n = (?!= )[^\n]* = \n)", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


def articles(text: str) -> list[str]:
    """Return the articles of a WikiText file, each with the blank line before its title."""
    return [article for article in _ARTICLE.split(text) if article]


def language_topics(sample: Path) -> Parts:
    """Return the sample's texts about the Python language, of CPython's manual (PSF licence).

    A hash of the topic's name decides its part.

    Args:
        sample: folder of the sample that comes with the project.
    """
    parts: Parts = {"calibration": [], "test": []}
    for row in read_rows(sample / TOPICS, DOCUMENTS):
        parts["calibration" if stable_fraction(row["name"]) < CALIBRATION_SHARE else "test"].append(
            row["text"]
        )
    return parts


def text_files(name: str) -> list[str]:
    """Return the files of a text by its name: itself if it is one file, else those in its folder."""
    return [name] if name.endswith(FILE_TEXTS) else [f"{name}/{file}" for file in TEXT_FILES.values()]


def read_parts(folder: Path, name: str) -> Parts:
    """Return the documents of a text in a folder.

    Args:
        folder: where it lies.
        name: its own folder, with `TEXT_FILES`, or a file that `split_file` reads.

    Raises:
        ValueError: there is no text, or a file cannot be split.
    """
    if name.endswith(FILE_TEXTS):
        return split_file(folder / name)
    return {part: articles(_text(folder / name / file)) for part, file in TEXT_FILES.items()}


def split_file(path: Path) -> Parts:
    """Return the documents of one file, the first ones for calibration and the others for the test.

    Documents are the rows of a JSON Lines file, the articles of a WikiText file, or the pieces between blank
    lines of any other text. The first ones with `CALIBRATION_SHARE` of the characters calibrate, so that both
    parts are running text; a later copy of one of them is left out.

    Raises:
        ValueError: there is no text, rows are bad, or there are no two different documents.
    """
    documents = _rows(path) if path.suffix == ".jsonl" else _pieces(_text(path))
    first = _first(documents)
    calibration, known = documents[:first], set(documents[:first])
    test = [document for document in documents[first:] if document not in known]
    if not test:
        raise ValueError(
            f"{path}: one document cannot both calibrate and test: put blank lines between its parts, or "
            f"give a folder with {' and '.join(TEXT_FILES.values())}"
        )
    return {"calibration": calibration, "test": test}


def _first(documents: Sequence[str]) -> int:
    """Return how many first documents have the calibration share of the characters; at least one is left."""
    held = list(accumulate(map(len, documents)))
    return max(1, min(bisect_left(held, CALIBRATION_SHARE * held[-1]) + 1, len(documents) - 1))


def _rows(path: Path) -> list[str]:
    """Return the texts of a JSON Lines file."""
    return [row["text"] for row in read_rows(path, DOCUMENTS)]


def _pieces(text: str) -> list[str]:
    """Return the articles of a text, or the pieces between its blank lines if it has no articles."""
    pieces = articles(text)
    return pieces if len(pieces) > 1 else [piece for piece in _BLANK_LINES.split(text) if piece.strip()]


def _text(path: Path) -> str:
    """Return the text of a file; an empty one is an error."""
    text = read_text(path)
    if not text.strip():
        raise ValueError(
            f"{path}: the file holds no text: put some in, or remove its folder to use the sample's"
        )
    return text
