"""Compare two models on the same questions: paired differences with intervals, and retention."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avss_core.calibration import accuracy_at, bootstrap_interval, brier, coverage_at, ece

Answered = Mapping[str, Any]
"""One answer: id, correct (0 or 1) and, for questions, confidence."""


def mean_with_interval(values: Sequence[float | int], seed: int) -> dict[str, float | None]:
    """Return the mean with its 95 % bootstrap interval over the values; None without values."""
    if not len(values):
        return {"value": None, "low": None, "high": None}
    column = np.asarray(values, dtype=np.float64)
    low, high = bootstrap_interval(lambda drawn: float(drawn.mean()), column, seed=seed)
    return {"value": float(column.mean()), "low": low, "high": high}


def paired_means(before: Sequence[float], after: Sequence[float], seed: int) -> dict[str, float | None]:
    """Return the mean of after minus before, with its 95 % bootstrap interval over pairs.

    Raises:
        ValueError: there are not as many values after as before.
    """
    return mean_with_interval([b - a for a, b in zip(before, after, strict=True)], seed)


def paired_difference(before: Sequence[Answered], after: Sequence[Answered], seed: int) -> dict[str, Any]:
    """Return after minus before for each figure, on the same questions, with paired 95 % bootstrap intervals.

    Args:
        before: answers of the first model.
        after: answers of the second model to the same questions.
        seed: of the resampling.

    Returns:
        n, for each of accuracy, accuracy_at_50, coverage_at_50, ece and brier the value, low and high of the
        difference, and retention = accuracy after / before (None where nothing was right before).

    Raises:
        ValueError: the questions are not the same; names one of them.
    """
    first, second = ({row["id"]: row for row in rows} for rows in (before, after))
    odd = first.keys() ^ second.keys()
    if odd or not first:
        raise ValueError(
            f"both models must answer the same questions; only one has {sorted(odd)[:1] or 'any'}"
        )
    ids = sorted(first)
    columns = [
        np.array([float(side[i][field]) for i in ids])
        for side in (first, second)
        for field in ("confidence", "correct")
    ]
    figures = {
        "accuracy": _accuracy,
        "accuracy_at_50": accuracy_at,
        "coverage_at_50": coverage_at,
        "ece": ece,
        "brier": brier,
    }
    result: dict[str, Any] = {"n": len(ids)}
    for name, figure in figures.items():

        def change(sure_a: Any, right_a: Any, sure_b: Any, right_b: Any, figure: Any = figure) -> float:
            return float(figure(sure_b, right_b) - figure(sure_a, right_a))

        low, high = bootstrap_interval(change, *columns, seed=seed)
        result[name] = {"value": change(*columns), "low": low, "high": high}
    base = columns[1].mean()
    result["retention"] = float(columns[3].mean() / base) if base > 0 else None
    return result


def _accuracy(_confidence: Any, correct: Any) -> float:
    """Return the share of correct answers."""
    return float(correct.mean())
