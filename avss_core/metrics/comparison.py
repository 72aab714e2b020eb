"""Compare two models on the same questions: paired differences with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avss_core.metrics.bootstrap import bootstrap_interval
from avss_core.metrics.records import Entry
from avss_core.metrics.summary import changes, contrast

Answered = Mapping[str, Any]
"""One answer: id, correct (0 or 1) and, for questions, confidence."""

Sets = Mapping[str, Mapping[str, Any]]
"""A model's answers: name of the set -> a record with the `answers`."""


def mean_with_interval(values: Sequence[float | int], seed: int) -> Entry:
    """Return the mean with its 95 % bootstrap interval over the values; None without values."""
    if not len(values):
        return {"value": None, "low": None, "high": None}
    column = np.asarray(values, dtype=np.float64)
    low, high = bootstrap_interval(lambda drawn: float(drawn.mean()), column, seed=seed)
    return {"value": float(column.mean()), "low": low, "high": high}


def paired_means(before: Sequence[float], after: Sequence[float], seed: int) -> Entry:
    """Return the mean of after minus before, with its 95 % bootstrap interval over pairs.

    Raises:
        ValueError: there are not as many values after as before.

    Example:
        >>> paired_means([1.0, 2.0, 5.0], [2.0, 3.0, 6.0], seed=0)
        {'value': 1.0, 'low': 1.0, 'high': 1.0}
    """
    return mean_with_interval([b - a for a, b in zip(before, after, strict=True)], seed)


def paired_difference(before: Sequence[Answered], after: Sequence[Answered], seed: int) -> dict[str, Any]:
    """Return after minus before for each figure, on the same questions, with paired 95 % bootstrap intervals.

    Args:
        before: answers of the first model.
        after: answers of the second model to the same questions.
        seed: of the resampling.

    Returns:
        n, for each figure of `summary.FIGURES` the value, low and high of the difference, and retention =
        accuracy after / before (None where nothing was right before).

    Raises:
        ValueError: the questions are not the same; names one of them.
    """
    sides = paired(before, after)
    sure, right = ([[row[field] for row in rows] for rows in sides] for field in ("confidence", "correct"))
    found = changes((sure[0], right[0]), (sure[1], right[1]), seed)
    base, kept = sum(right[0]), sum(right[1])
    return {"n": len(sure[0]), **found, "retention": kept / base if base > 0 else None}


def difference_to_mean(
    others: Sequence[Sequence[Answered]], own: Sequence[Answered], seed: int
) -> dict[str, Any]:
    """Return one model's figures minus the mean of other models', with paired 95 % bootstrap intervals.

    So a choice is compared with several random draws of it at once.

    Args:
        others: answers of each of the other models; at least one.
        own: answers of the model to the same questions.
        seed: of the resampling.

    Returns:
        n, and for each figure of `summary.FIGURES` the value, low and high of the difference.

    Raises:
        ValueError: the questions are not the same, or there is no other model.
    """
    if not others:
        raise ValueError("there is no other model to compare with")
    weighted = [(1.0, own), *((-1.0 / len(others), rows) for rows in others)]
    sides = [(weight, paired(own, rows)[1]) for weight, rows in weighted]
    columns = [
        (weight, ([row["confidence"] for row in rows], [row["correct"] for row in rows]))
        for weight, rows in sides
    ]
    return {"n": len(own), **contrast(columns, seed)}


def differences_by_set(before: Sets, after: Sets, seed: int) -> dict[str, Any]:
    """Return `paired_difference` of each question set that the second model answered."""
    return {
        name: paired_difference(before[name]["answers"], found["answers"], seed)
        for name, found in after.items()
    }


def differences_to_mean_by_set(others: Sequence[Sets], own: Sets, seed: int) -> dict[str, Any]:
    """Return `difference_to_mean` of each question set that the model answered."""
    return {
        name: difference_to_mean([other[name]["answers"] for other in others], found["answers"], seed)
        for name, found in own.items()
    }


def paired(before: Sequence[Answered], after: Sequence[Answered]) -> tuple[list[Answered], list[Answered]]:
    """Return both models' answers in the order of their ids, so that equal places hold the same question.

    Raises:
        ValueError: the questions are not the same, or there is none; names one of them.
    """
    first, second = ({row["id"]: row for row in rows} for rows in (before, after))
    odd = first.keys() ^ second.keys()
    if odd or not first:
        raise ValueError(
            f"both models must answer the same questions; only one has {sorted(odd)[:1] or 'any'}"
        )
    ids = sorted(first)
    return [first[i] for i in ids], [second[i] for i in ids]
