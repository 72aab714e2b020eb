"""Questions, sentiment and text from one of three places: the sample, a folder, or the Hugging Face Hub."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

from avss_core.splits import Row, stable_fraction
from tasks.hub_sets import HUB_SETS, load_set
from tasks.schemas import read_rows, read_text, validate_questions, validate_sentiment

SETS = ("nq", "sciq", "triviaqa", "truthfulqa", "wikiqa")
"""The question sets of the paper, which the sample and the Hub have."""

SOURCES = ("sample", "path", "hub")

_LAYOUT = (
    "The layout is SET/train.jsonl and SET/test.jsonl for each set; the folders sst2 (train.jsonl and "
    "validation.jsonl, for sentiment) and wikitext2 (valid.txt and test.txt, for text) may be left out."
)
_SENTIMENT_FILES = {"train": "sst2/train.jsonl", "validation": "sst2/validation.jsonl"}
_TEXT_FILES = {"calibration": "wikitext2/valid.txt", "test": "wikitext2/test.txt"}

_CALIBRATION_SHARE = 0.4
"""Share of the language topics that calibrates; the others test."""

# A WikiText article begins at a line " = Title = " after a blank line. Formulas in the running text look the
# same but follow other text, and section headings have two or more equals signs.
_ARTICLE = re.compile(r"^(?= ?\n = (?!= )[^\n]* = \n)", re.MULTILINE)


@dataclass(frozen=True)
class RawData:
    """All rows and documents of a run, validated, as they came from their source."""

    questions: dict[str, dict[str, list[Row]]]
    """Rows by set and by side, "train" and "test"."""
    sentiment: dict[str, list[Row]]
    """Rows by "train" and "validation"."""
    text: dict[str, list[str]]
    """Documents by "calibration" and "test"."""
    origin: dict[str, str]
    """The source of each of the parts questions, sentiment and text."""


def load(source: str, path: Path | None, sets: Sequence[str], sample_path: Path) -> RawData:
    """Return the validated data of a source.

    Args:
        source: "sample", "path" or "hub".
        path: folder of the source "path"; sentiment or text that it lacks come from the sample.
        sets: names of the question sets; in a folder any name that has its two files.
        sample_path: folder of the sample that comes with the project.

    Raises:
        ValueError: the source is unknown, a folder is not given, no set is asked for, or rows are bad.
        LookupError: the Hub has no such set.
        FileNotFoundError: files are missing; the message lists them and the layout.
        ConnectionError: the Hub cannot be reached.
    """
    if not sets:
        raise ValueError("no question set is asked for: name at least one in data.sets")
    if source == "sample":
        return _from_folder("sample", sample_path, sets, sample_path)
    if source == "hub":
        return _from_hub(sets)
    if source != "path":
        raise ValueError(f"unknown data.source {source!r}: it is one of {', '.join(SOURCES)}")
    if path is None:
        raise ValueError("data.source is path, but data.path is not given: name the folder")
    return _from_folder("path", path, sets, sample_path)


def load_text(source: str, path: Path | None, sets: Sequence[str]) -> tuple[dict[str, list[str]], str]:
    """Return the documents of a source, by "calibration" and "test", and where they come from.

    For what needs no questions: a folder may hold the text alone. The rows of the sets that it has are
    validated all the same, so that a bad one shows early.

    Args:
        source: as in `load`.
        path: as in `load`; where it has sets but no text, the text comes from the sample.
        sets: names of the question sets.

    Raises:
        ValueError: the text is empty, or rows are bad.
        FileNotFoundError: the folder has neither text nor one of the sets.
        ConnectionError: the Hub cannot be reached.
    """
    if source == "hub":
        return _hub_text(), "hub"
    if source != "path" or path is None:
        return language_topics(), "sample"
    own_text = (path / "wikitext2").is_dir()
    files = [f"{name}/{side}.jsonl" for name in sets for side in ("train", "test")]
    held = [file for file in files if (path / file).is_file()]
    _require(path, [*_TEXT_FILES.values()] if own_text else held or files)
    for file in held:
        _rows(path / file, validate_questions)
    return (_folder_text(path), "path") if own_text else (language_topics(), "sample")


def articles(text: str) -> list[str]:
    """Return the articles of a WikiText file, each with the blank line before its title; joined, the file."""
    return [article for article in _ARTICLE.split(text) if article]


def language_topics() -> dict[str, list[str]]:
    """Return the texts about the Python language that CPython carries, for calibration and for the test.

    A hash of the topic's name decides, so that a topic stays on its side from one Python to the next.
    """
    parts: dict[str, list[str]] = {"calibration": [], "test": []}
    # By text: a topic with two names ("if" and "else") must not be in both parts.
    names = {text: name for name, text in sorted(topics.items(), reverse=True)}
    for text, name in sorted(names.items(), key=lambda item: item[1]):
        parts["calibration" if stable_fraction(name) < _CALIBRATION_SHARE else "test"].append(text)
    return parts


def _from_folder(source: str, folder: Path, sets: Sequence[str], sample_path: Path) -> RawData:
    """Return the data of a folder; sentiment and text of the sample where the folder has none."""
    own_sentiment, own_text = (folder / "sst2").is_dir(), (folder / "wikitext2").is_dir()
    files = {name: {side: f"{name}/{side}.jsonl" for side in ("train", "test")} for name in sets}
    needed = [file for sides in files.values() for file in sides.values()]
    needed += [*_SENTIMENT_FILES.values()] if own_sentiment else []
    needed += [*_TEXT_FILES.values()] if own_text else []
    _require(folder, needed)
    if not own_sentiment:
        _require(sample_path, [*_SENTIMENT_FILES.values()])
    return RawData(
        questions={
            name: {side: _rows(folder / file, validate_questions) for side, file in sides.items()}
            for name, sides in files.items()
        },
        sentiment={
            side: _rows((folder if own_sentiment else sample_path) / file, validate_sentiment)
            for side, file in _SENTIMENT_FILES.items()
        },
        text=_folder_text(folder) if own_text else language_topics(),
        origin={
            "questions": source,
            "sentiment": source if own_sentiment else "sample",
            "text": source if own_text else "sample",
        },
    )


def _from_hub(sets: Sequence[str]) -> RawData:
    """Return the public data sets at their pinned revisions."""
    for name in sets:
        if name not in SETS:
            near = difflib.get_close_matches(name, SETS)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise LookupError(f"data.source=hub has no set {name!r}, only {', '.join(SETS)}{hint}")
    questions = {name: load_set(name) for name in sets}
    sentiment = load_set("sst2")
    for name, sides in questions.items():
        for side, rows in sides.items():
            validate_questions(rows, f"{HUB_SETS[name].repo} {side}")
    for side, rows in sentiment.items():
        validate_sentiment(rows, f"{HUB_SETS['sst2'].repo} {side}")
    return RawData(
        questions=questions,
        sentiment=sentiment,
        text=_hub_text(),
        origin=dict.fromkeys(("questions", "sentiment", "text"), "hub"),
    )


def _hub_text() -> dict[str, list[str]]:
    """Return the articles of the public text."""
    return {
        part: articles("".join(row["text"] for row in rows)) for part, rows in load_set("wikitext2").items()
    }


def _folder_text(folder: Path) -> dict[str, list[str]]:
    """Return the documents of a folder's text files."""
    return {part: _documents(folder / file) for part, file in _TEXT_FILES.items()}


def _rows(path: Path, validate: Callable[[Sequence[Row], str], None]) -> list[Row]:
    """Return the validated rows of a file."""
    rows = read_rows(path)
    validate(rows, str(path))
    return rows


def _documents(path: Path) -> list[str]:
    """Return the documents of a text file."""
    text = read_text(path)
    if not text.strip():
        raise ValueError(
            f"{path}: the file holds no text: put some in, or take its folder away to use the sample's"
        )
    return articles(text)


def _require(folder: Path, files: Sequence[str]) -> None:
    """Raise FileNotFoundError, with what is there and what should be, unless the folder has all the files."""
    if not folder.is_dir():
        found = "is not a folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"the data folder {folder} {found}: give an existing one. {_LAYOUT}")
    present = sorted(entry.name for entry in folder.iterdir())
    if not present:
        raise FileNotFoundError(f"the data folder {folder} is empty: put {', '.join(files)} there. {_LAYOUT}")
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"the data folder {folder} lacks {', '.join(missing)}; it holds {', '.join(present)}. {_LAYOUT}"
        )
