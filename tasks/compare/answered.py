"""The answers of a run's models, and what they were asked, by the ids of the questions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from avss_core.files.digests import digest_json
from tasks.answers.answer_rows import SENTIMENT
from tasks.data.rows import read_prepared

Row = dict[str, Any]

_FOLDERS = {"dense": "evaluation", "pruned": "evaluation", "healed": "healing", "mitigated": "mitigation"}


class RunAnswers:
    """What the models of a run answered; each file is read once, and a run without a folder has nothing."""

    def __init__(self, data: Path | None) -> None:
        self._data = data
        self._tables: dict[str, pd.DataFrame | None] = {}
        self._asked: dict[str, dict[str, str]] = {}

    def answers(self, variant: str, name: str) -> dict[str, Row]:
        """Return a model's answers to a set, or to `sentiment`: id -> id, confidence, correct (0 or 1)."""
        frame = self._table(_FOLDERS[variant])
        if frame is None:
            return {}
        rows = frame[(frame["variant"] == variant) & (frame["set"] == name)]
        found = rows[["id", "confidence", "correct"]].astype({"correct": int}).to_dict("records")
        return {str(row["id"]): {str(key): value for key, value in row.items()} for row in found}

    def asked(self, name: str) -> Mapping[str, str]:
        """Return the digest of each test question with its answers, or of each review, by id."""
        if name not in self._asked:
            path = "sst2/validation.jsonl" if name == SENTIMENT else f"{name}/test.jsonl"
            file = self._data / "prepared" / path if self._data else None
            rows = read_prepared(file) if file and file.is_file() else []
            self._asked[name] = {row["id"]: digest_json(row) for row in rows}
        return self._asked[name]

    def _table(self, folder: str) -> pd.DataFrame | None:
        """Return the table of answers of a folder, None where there is none."""
        if folder not in self._tables:
            file = self._data / folder / "answers.parquet" if self._data else None
            self._tables[folder] = pd.read_parquet(file) if file and file.is_file() else None
        return self._tables[folder]


def shared_answers(
    first: RunAnswers, second: RunAnswers, variant: str, name: str
) -> tuple[list[Row], list[Row]]:
    """Return the answers of both runs' models to the questions that are the same, in the same order.

    An id alone says nothing, for two data sets may use the same ids: question and answers must be equal, too.
    """
    sides = [run.answers(variant, name) for run in (first, second)]
    asked = [run.asked(name) for run in (first, second)]
    ids = sorted(
        i for i in sides[0].keys() & sides[1].keys() if i in asked[0] and asked[0][i] == asked[1].get(i)
    )
    return [sides[0][i] for i in ids], [sides[1][i] for i in ids]
