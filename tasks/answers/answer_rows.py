"""Answers as a table: one row each, checked before it is written, read back by variant."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa

SENTIMENT = "sentiment"
"""Name of the reviews among the sets."""

_SHARE = pa.Check.in_range(0, 1)

ANSWERS = pa.DataFrameSchema(
    {
        "variant": pa.Column(str),
        "set": pa.Column(str),
        "id": pa.Column(str),
        "prompt": pa.Column(str, pa.Check.str_matches("^[0-9a-f]{64}$"), description="SHA-256 of the prompt"),
        "answer": pa.Column(str, description="as generated; for sentiment the label"),
        "confidence": pa.Column(float, _SHARE, description="geometric mean of the tokens' probabilities"),
        "correct": pa.Column(bool, description="by the judge of the set"),
        "judge": pa.Column(str, description="`label` for sentiment"),
        "verdicts": pa.Column(object, description="every judge's verdict: a list of name=0 or 1"),
        "gold_nll": pa.Column(float, pa.Check.ge(0), nullable=True, description="nats a token"),
        "preference_margin": pa.Column(float, nullable=True, description="accepted over wrong, nats a token"),
        "dropped_demonstrations": pa.Column(int, pa.Check.ge(0)),
    },
    unique=["variant", "set", "id"],
    strict=True,
    ordered=True,
    coerce=False,
)
"""One row an answer."""


def write_answers(path: Path, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the answers of variants, by variant name, as a parquet file.

    Raises:
        ValueError: an answer does not fit the schema; names column and row.
    """
    rows = [row for variant, record in records.items() for row in _rows(variant, record)]
    frame = pd.DataFrame(rows, columns=list(ANSWERS.columns)).astype(
        {"gold_nll": float, "preference_margin": float, "confidence": float}
    )
    try:
        ANSWERS.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        raise ValueError(f"{path.name}: bad answers\n{error.failure_cases.head(20).to_string()}") from error
    frame.to_parquet(path, index=False)


def read_answers(path: Path, variant: str) -> dict[str, Any]:
    """Return the answers of a variant, `sets` and `sentiment`, as the evaluation made them.

    Raises:
        LookupError: the file holds no such variant.
    """
    frame = pd.read_parquet(path)
    mine = frame[frame["variant"] == variant]
    if mine.empty:
        raise LookupError(f"{path} holds no answers of {variant!r}; it has {sorted(set(frame['variant']))}")
    sets = {
        str(name): {"answers": [_answer(row) for row in part.to_dict("records")]}
        for name, part in mine.groupby("set", sort=False)
    }
    reviews = sets.pop(SENTIMENT)["answers"]
    return {"sets": sets, "sentiment": {"answers": [_review(row) for row in reviews]}}


def _rows(variant: str, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of one variant."""
    rows = [
        {
            "variant": variant,
            "set": name,
            **{key: row[key] for key in ("id", "prompt", "answer", "confidence", "correct")},
            "judge": answered["judge"],
            "verdicts": [f"{judge}={int(right)}" for judge, right in row["verdicts"].items()],
            **{key: row[key] for key in ("gold_nll", "preference_margin", "dropped_demonstrations")},
        }
        for name, answered in record["sets"].items()
        for row in answered["answers"]
    ]
    rows += [
        {
            "variant": variant,
            "set": SENTIMENT,
            **{key: row[key] for key in ("id", "prompt", "confidence", "correct")},
            "answer": str(row["predicted"]),
            "judge": "label",
            "verdicts": [],
            "gold_nll": None,
            "preference_margin": None,
            "dropped_demonstrations": 0,
        }
        for row in record["sentiment"]["answers"]
    ]
    return rows


def _answer(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what two models are compared by; a likelihood that was not measured is None."""
    known = {key: None if pd.isna(row[key]) else row[key] for key in ("gold_nll", "preference_margin")}
    margin = known["preference_margin"]
    return {
        **{key: row[key] for key in ("id", "answer", "confidence", "correct")},
        "gold_nll": known["gold_nll"],
        "preference": None if margin is None else bool(margin > 0),
    }


def _review(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a review's row with its predicted and its true label."""
    predicted = int(row["answer"])
    label = predicted if row["correct"] else 1 - predicted
    known = {key: row[key] for key in ("id", "answer", "confidence", "correct")}
    return {**known, "predicted": predicted, "label": label}
