"""Text for language modelling: its documents, and the two parts of it that calibrate and test."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from pydoc_data.topics import topics

from avss_core.evaluation.splits import stable_fraction
from tasks.data.schemas import DOCUMENTS, read_rows, read_text

Parts = dict[str, list[str]]
"""Documents by "calibration" and "test"."""

TEXT_FILES = {"calibration": "valid.txt", "test": "test.txt"}
"""The file of each part, in the folder of a text."""

FILE_TEXTS = (".txt", ".md", ".jsonl")
"""Endings of a text that is one file."""

CALIBRATION_SHARE = 0.4
"""Share of the language topics, or of one file's characters, that calibrates; the rest tests."""

# A WikiText article begins at a line " = Title = " after a blank line. Formulas in the running text look the
# same but follow other text, and section headings have two or more equals signs.
_ARTICLE = re.compile(r"^(?= ?\n = (?!= )[^\n]* = \n)", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")


def articles(text: str) -> list[str]:
    """Return the articles of a WikiText file, each with the blank line before its title; joined, the file."""
    return [article for article in _ARTICLE.split(text) if article]


def language_topics() -> Parts:
    """Return the texts about the Python language that CPython carries, for calibration and for the test.

    A hash of the topic's name decides, so that a topic stays on its side from one Python to the next.
    """
    parts: Parts = {"calibration": [], "test": []}
    # By text: a topic with two names ("if" and "else") must not be in both parts.
    names = {text: name for name, text in sorted(topics.items(), reverse=True)}
    for text, name in sorted(names.items(), key=lambda item: item[1]):
        parts["calibration" if stable_fraction(name) < CALIBRATION_SHARE else "test"].append(text)
    return parts


def text_files(name: str) -> list[str]:
    """Return the files of a text by its name: itself, where it is one file, or those in its folder."""
    return [name] if name.endswith(FILE_TEXTS) else [f"{name}/{file}" for file in TEXT_FILES.values()]


def read_parts(folder: Path, name: str) -> Parts:
    """Return the documents of a text in a folder.

    Args:
        folder: where it lies.
        name: of its own folder, with `TEXT_FILES`, or of a file that `split_file` reads.

    Raises:
        ValueError: there is no text, or a file that cannot be split.
    """
    if name.endswith(FILE_TEXTS):
        return split_file(folder / name)
    return {part: articles(_text(folder / name / file)) for part, file in TEXT_FILES.items()}


def split_file(path: Path) -> Parts:
    """Return the documents of one file, the first ones for calibration and the others for the test.

    Documents are the rows of a JSON Lines file, the articles of a WikiText file or, of any other text, the
    pieces between blank lines. The first that hold `CALIBRATION_SHARE` of the characters calibrate, so that
    both parts are running text; of the others, one that calibrates too is left out.

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
    """Return how many of the first documents hold the calibration share of the characters, but not all."""
    held = list(accumulate(map(len, documents)))
    return max(1, min(bisect_left(held, CALIBRATION_SHARE * held[-1]) + 1, len(documents) - 1))


def _rows(path: Path) -> list[str]:
    """Return the texts of a JSON Lines file."""
    return [row["text"] for row in read_rows(path, DOCUMENTS)]


def _pieces(text: str) -> list[str]:
    """Return the articles of a text, or what stands between its blank lines where it has no articles."""
    found = articles(text)
    return found if len(found) > 1 else [piece for piece in _BLANK_LINES.split(text) if piece.strip()]


def _text(path: Path) -> str:
    """Return the text of a file, which must hold some."""
    text = read_text(path)
    if not text.strip():
        raise ValueError(
            f"{path}: the file holds no text: put some in, or take its folder away to use the sample's"
        )
    return text
