"""Questions, sentiment and text from one of three sources: the sample, a folder, the Hugging Face Hub."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avss_core.data.data_folders import question_files, require
from avss_core.data.hub_sets import HUB_SETS, load_set
from avss_core.data.pile import SUBSETS, pile_text
from avss_core.data.schemas import QUESTIONS, SENTIMENT, read_rows, validate
from avss_core.data.texts import Parts, articles, language_topics, read_parts, text_files
from avss_core.evaluation.splits import Row
from avss_core.files.containment import inside

SETS = ("nq", "sciq", "triviaqa", "truthfulqa", "wikiqa")
"""The question sets of the paper, which the sample and the Hub have."""

SOURCES = ("sample", "path", "hub")

_SENTIMENT_FILES = {"train": "train.jsonl", "validation": "validation.jsonl"}


@dataclass(frozen=True)
class Wanted:
    """The text and the sentiment set to take from a source that has several."""

    text: str | None = None
    """From the Hub wikitext2, pile or hackernews; from a folder what `read_parts` reads. None: wikitext2, or
    the sample's text if a folder lacks it."""
    sentiment: str | None = None
    """Sentiment set of a folder. None: sst2, or the sample's if the folder lacks it."""
    characters: int = 200_000
    """Length of each part of a streamed text."""


USUAL = Wanted()


@dataclass(frozen=True)
class RawData:
    """All rows and documents of a run, validated, otherwise as in their source."""

    questions: dict[str, dict[str, list[Row]]]
    """Rows by set and by side, "train" and "test"."""
    sentiment: dict[str, list[Row]]
    """Rows by "train" and "validation"."""
    text: dict[str, list[str]]
    """Documents by "calibration" and "test"."""
    origin: dict[str, str]
    """The source of each of the parts questions, sentiment and text."""


def load(
    source: str, path: Path | None, sets: Sequence[str], sample_path: Path, wanted: Wanted = USUAL
) -> RawData:
    """Return the validated data of a source.

    Args:
        source: "sample", "path" or "hub".
        path: folder of the source "path"; sentiment or text that it lacks come from the sample.
        sets: names of the question sets; in a folder any name that has its two files.
        sample_path: folder of the sample that comes with the project.
        wanted: which text and sentiment; what it names must exist.

    Raises:
        ValueError: the source is unknown, no folder or no set is given, rows are bad, or a name or a link
            leads out of the folder.
        LookupError: the Hub has no such set.
        FileNotFoundError: files are missing; the message lists them and the layout.
        ConnectionError: the Hub cannot be reached.
    """
    if not sets:
        raise ValueError("no question set is asked for: name at least one in data.sets")
    if source == "sample":
        return _from_folder("sample", sample_path, sets, sample_path, USUAL)
    if source == "hub":
        return _from_hub(sets, wanted)
    if source != "path":
        raise ValueError(f"unknown data.source {source!r}: it is one of {', '.join(SOURCES)}")
    if path is None:
        raise ValueError("data.source is path, but data.path is not given: name the folder")
    return _from_folder("path", path, sets, sample_path, wanted)


def load_text(
    source: str, path: Path | None, sets: Sequence[str], sample_path: Path, wanted: Wanted = USUAL
) -> tuple[Parts, str]:
    """Return the documents of a source, by "calibration" and "test", and where they come from.

    A folder may hold text alone. The rows of its sets are validated all the same, so that a bad one shows
    early, and if it has sets but no text, the text comes from the sample.

    Args:
        source: as in `load`.
        path: as in `load`.
        sets: as in `load`.
        sample_path: as in `load`.
        wanted: as in `load`.

    Raises:
        ValueError: the text is empty, rows are bad, or a name or a link leads out of the folder.
        FileNotFoundError: the folder has neither text nor one of the sets.
        ConnectionError: the Hub cannot be reached.
    """
    if source == "hub":
        return _hub_text(wanted), _named("hub", wanted.text)
    if source != "path" or path is None:
        return language_topics(sample_path), "sample"
    text = _own(path, wanted.text, "wikitext2")
    files = question_files(sets)
    held = [file for file in files if inside(path, file).is_file()]
    require(path, text_files(text) if text else held or files, sets)
    for file in held:
        read_rows(path / file, QUESTIONS)
    if text:
        return read_parts(path, text), _named("path", wanted.text)
    return language_topics(sample_path), "sample"


def _from_folder(
    source: str, folder: Path, sets: Sequence[str], sample_path: Path, wanted: Wanted
) -> RawData:
    """Return the data of a folder; sentiment or text that it lacks come from the sample."""
    sentiment, text = _own(folder, wanted.sentiment, "sst2"), _own(folder, wanted.text, "wikitext2")
    files = {name: {side: f"{name}/{side}.jsonl" for side in ("train", "test")} for name in sets}
    needed = question_files(sets)
    needed += _sentiment_files(sentiment) if sentiment else []
    needed += text_files(text) if text else []
    require(folder, needed, sets)
    if not sentiment:
        require(sample_path, _sentiment_files("sst2"), ())
    reviews = folder / sentiment if sentiment else sample_path / "sst2"
    return RawData(
        questions={
            name: {side: read_rows(folder / file, QUESTIONS) for side, file in sides.items()}
            for name, sides in files.items()
        },
        sentiment={side: read_rows(reviews / file, SENTIMENT) for side, file in _SENTIMENT_FILES.items()},
        text=read_parts(folder, text) if text else language_topics(sample_path),
        origin={
            "questions": source,
            "sentiment": _named(source, wanted.sentiment) if sentiment else "sample",
            "text": _named(source, wanted.text) if text else "sample",
        },
    )


def _from_hub(sets: Sequence[str], wanted: Wanted) -> RawData:
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
            validate(rows, QUESTIONS, f"{HUB_SETS[name].repo} {side}")
    for side, rows in sentiment.items():
        validate(rows, SENTIMENT, f"{HUB_SETS['sst2'].repo} {side}")
    return RawData(
        questions=questions,
        sentiment=sentiment,
        text=_hub_text(wanted),
        origin={"questions": "hub", "sentiment": "hub", "text": _named("hub", wanted.text)},
    )


def _hub_text(wanted: Wanted) -> Parts:
    """Return the documents of the public text."""
    if wanted.text is not None and wanted.text in SUBSETS:
        return pile_text(wanted.text, wanted.characters)
    return {
        part: articles("".join(row["text"] for row in rows)) for part, rows in load_set("wikitext2").items()
    }


def _own(folder: Path, wanted: str | None, usual: str) -> str | None:
    """Return what is wanted from a folder, else the usual name if the folder has it."""
    return wanted or (usual if (folder / usual).is_dir() else None)


def _named(source: str, wanted: str | None) -> str:
    """Return where data come from, with the name that was asked for."""
    return f"{source} ({wanted})" if wanted else source


def _sentiment_files(name: str) -> list[str]:
    """Return the files of a sentiment set."""
    return [f"{name}/{file}" for file in _SENTIMENT_FILES.values()]
