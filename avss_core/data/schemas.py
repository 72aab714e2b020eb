"""Schemas of question and sentiment rows, and messages that lead to the bad line."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa

from avss_core.evaluation.splits import Row
from avss_core.files.writing import keyed_once
from avss_core.judges.normalisation import normalise

_SHOWN = 20
"""Most bad rows that a message lists; more are counted."""

_DIGITS = 300
"""Most digits of a whole number in a row."""

_VALUE_WIDTH = 80
"""Characters of a bad value that a message shows."""


def _each(holds: Callable[[Any], bool], reason: str) -> pa.Check:
    """Return a check of single values; `reason` explains a failure."""
    return pa.Check(holds, element_wise=True, error=reason)


def _is_texts(value: Any) -> bool:
    """Return whether the value is a list of strings."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_TEXT = _each(lambda value: isinstance(value, str) and bool(value.strip()), "must be text that is not blank")
_ID = [_TEXT, pa.Check(lambda ids: ~ids.astype(str).duplicated(), error="is the id of an earlier row too")]
_QUESTION = [
    _TEXT,
    # Splits identify a question by its normalized text, and all that normalize to "" would be the same one.
    _each(lambda value: not isinstance(value, str) or normalise(value) != "", "must hold a word or a number"),
]
_TEXTS = _each(_is_texts, "must be a list of texts")
_ANSWERS = [
    _TEXTS,
    _each(
        lambda value: not _is_texts(value) or any(item.strip() for item in value),
        "needs at least one answer that is not blank",
    ),
]
_LABEL = [
    _each(
        lambda value: not (type(value) is int and value == -1),
        "-1 marks a row without a label (as in all of SST-2's public test split): take train or validation",
    ),
    # `type is int`: True, 0.5 and 1.0 must not pass as labels.
    _each(lambda value: type(value) is int and value in (-1, 0, 1), "must be the whole number 0 or 1"),
]

# Columns are `object` and never coerced: pandera's coercion turns a label of 0.5 into 0.
QUESTIONS = pa.DataFrameSchema(
    {
        "id": pa.Column(object, _ID),
        "question": pa.Column(object, _QUESTION),
        "answers": pa.Column(object, _ANSWERS),
        "wrong_answers": pa.Column(object, _TEXTS),
    },
    description='A row is {"id": text, "question": text, "answers": [text, ...], '
    '"wrong_answers": [text, ...]}; wrong_answers may be empty.',
    strict=True,
    coerce=False,
)
SENTIMENT = pa.DataFrameSchema(
    {"id": pa.Column(object, _ID), "text": pa.Column(object, _TEXT), "label": pa.Column(object, _LABEL)},
    description='A row is {"id": text, "text": text, "label": 0 or 1}, 1 is positive.',
    strict=True,
    coerce=False,
)
DOCUMENTS = pa.DataFrameSchema(
    {"text": pa.Column(object, _TEXT)}, description='A row is {"text": text}.', strict=False, coerce=False
)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Raises:
        ValueError: the file is not UTF-8; names the line.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: not UTF-8 ({error.reason}): save the file as UTF-8") from error


def read_rows(path: Path, schema: pa.DataFrameSchema) -> list[Row]:
    """Return the validated rows of a JSON Lines file, in its order.

    Raises:
        ValueError: the file is not UTF-8, has no row, or has bad lines; each is named with field, reason and
            value.
    """
    text = read_text(path)
    rows: dict[int, Row] = {}
    problems: dict[int, str] = {}
    # Not splitlines(): it also cuts at U+2028 and U+0085, which JSON allows inside a string.
    for index, line in enumerate(text.rstrip().split("\n") if text.strip() else []):
        try:
            rows[index] = _row(line)
        except ValueError as error:
            problems[index] = f"{error}: {_short(line)}"
    first = "Write one JSON object a line. " if problems else ""
    lines = list(rows)
    problems |= {lines[place]: text for place, text in _problems(list(rows.values()), schema).items()}
    _refuse(problems, str(path), f"{first}{schema.description}", empty=not text.strip())
    return list(rows.values())


def _row(line: str) -> Row:
    """Return the row of a line.

    Raises:
        ValueError: the line is no JSON object that a file can hold again, or a key of it stands twice.
    """
    try:
        row = json.loads(line, object_pairs_hook=keyed_once, parse_int=_whole)
        # What is read here is written again, by other programs too.
        json.dumps(row, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from error
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):x}"
        raise ValueError(f"{half} is half a character: write both halves, or the character itself") from error
    except RecursionError as error:
        raise ValueError("brackets are nested too deep") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    return row


def _whole(digits: str) -> int:
    """Return a whole number; Python refuses longer ones with advice for programmers."""
    if len(digits) > _DIGITS:
        raise ValueError(f"a number has {len(digits):,} digits")
    return int(digits)


def validate(rows: Sequence[Row], schema: pa.DataFrameSchema, where: str) -> None:
    """Raise an error unless there are rows and all fit a schema.

    Raises:
        ValueError: there is no row, or rows are bad; each is named by `where`, line, field, reason and value.
    """
    _refuse(_problems(rows, schema), where, str(schema.description), empty=not rows)


def _problems(rows: Sequence[Row], schema: pa.DataFrameSchema) -> dict[int, str]:
    """Return what is wrong with the rows that a schema refuses, by index."""
    if not rows:
        return {}
    # All fields of all rows: a missing one becomes a null and an unknown one a column, and both are refused.
    fields = dict.fromkeys(chain(schema.columns, chain.from_iterable(rows)))
    frame = pd.DataFrame(rows, columns=list(fields), dtype=object)
    problems: dict[int, dict[str, str]] = {}
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        for index, field, reason in _failures(error.failure_cases, rows):
            problems.setdefault(index, {}).setdefault(field, f"{field} {reason}")
    return {index: "; ".join(texts.values()) for index, texts in problems.items()}


def _failures(cases: pd.DataFrame, rows: Sequence[Row]) -> Iterator[tuple[int, str, str]]:
    """Yield row index, field and reason of each failure case."""
    for case in cases.to_dict("records"):
        if case["check"] == "column_in_schema":
            field = str(case["failure_case"])
            for index in (i for i, row in enumerate(rows) if field in row):
                yield index, field, f"is not a field of such a row: {_short(rows[index][field])}"
            continue
        index, field = int(case["index"]), str(case["column"])
        if field not in rows[index]:
            yield index, field, "is missing"
        elif case["check"] == "not_nullable":
            yield index, field, f"must not be null: {_short(rows[index][field])}"
        else:
            yield index, field, f"{case['check']}: {_short(rows[index][field])}"


def _refuse(problems: dict[int, str], where: str, remedy: str, *, empty: bool) -> None:
    """Raise a ValueError that lists the problems by line, or says that there are no rows."""
    if empty:
        raise ValueError(f"{where}: no rows. {remedy}")
    if not problems:
        return
    lines: Iterable[str] = (f"{where}:{index + 1}: {problems[index]}" for index in sorted(problems)[:_SHOWN])
    more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    closing = f"{remedy} Correct or delete these lines."
    raise ValueError("\n".join([f"{where}: bad lines: {len(problems)}", *lines, *more, closing]))


def _short(value: Any) -> str:
    """Return a value as one line of bounded length."""
    text = repr(value)
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 1] + "…"
