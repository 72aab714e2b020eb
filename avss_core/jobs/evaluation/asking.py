"""How questions are asked and answers judged, whichever stage asks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avss_core.data.rows import read_prepared
from avss_core.evaluation.demonstrations import FewShot, demonstrations_for, fitted_prompt
from avss_core.judges.judges import Judge, default_judge, judge
from avss_core.models.architectures import context_length

Question = Mapping[str, Any]
"""A row with id, question, and accepted and wrong answers."""


def judge_of(questions: Path, name: str) -> Judge:
    """Return the judge of the set that a file of questions belongs to."""
    return judge(default_judge(questions.parent.name) if name == "default" else name)


def verdicts_on(judged_by: Judge, rows: Sequence[Question], answers: Sequence[str]) -> list[bool]:
    """Return a judge's verdict on the answer to each row."""
    return judged_by.verdicts(
        [(row["question"], answer, row["answers"]) for row, answer in zip(rows, answers, strict=True)]
    )


def shown(demonstrations: Sequence[Path]) -> list[tuple[str, str]]:
    """Return demonstrations: questions with their first accepted answers."""
    return [(row["question"], row["answers"][0]) for path in demonstrations for row in read_prepared(path)]


def prompts_of(
    network: Any,
    tokenizer: Any,
    rows: Sequence[Question],
    demonstrations: Sequence[tuple[str, str]],
    *,
    shots: int,
    new: int,
    chat: bool,
) -> list[FewShot]:
    """Return the prompt of each row, with as many demonstrations as fit."""
    context = context_length(network.config)
    return [
        fitted_prompt(
            tokenizer,
            demonstrations_for(row["question"], demonstrations, shots),
            row["question"],
            room=None if context is None else context - new,
            chat=chat,
            name=row["id"],
        )
        for row in rows
    ]
