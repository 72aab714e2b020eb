"""Abstention: answer only above a confidence that was chosen, on other questions, for a wanted error."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from avss_core.metrics.bootstrap import as_entry, draws
from avss_core.metrics.calibration import accuracy_coverage_curve
from avss_core.metrics.columns import Column, Values, answer_columns
from avss_core.metrics.records import Abstaining


def threshold_for(confidence: Column, correct: Column, risk: float) -> float | None:
    """Return the lowest confidence from which on at most a share `risk` of the answers is wrong.

    None if no threshold does: the most confident answers are wrong more often than that.

    Raises:
        ValueError: `risk` is outside 0 to 1.

    Source: Geifman and El-Yaniv 2017, arXiv 1705.08500 (selection by a threshold on confidence). Our
    reading: the share among the given answers, without the margin by which a bound would hold for others.

    Example:
        >>> threshold_for([0.9, 0.8, 0.7, 0.3], [1, 0, 1, 0], 0.34)  # of the first three one is wrong
        0.7
    """
    if not 0 <= risk <= 1:
        raise ValueError(f"risk is {risk}; expected a number from 0 to 1")
    sure, right = answer_columns(confidence, correct)
    _, accuracy = accuracy_coverage_curve(sure, right)
    good = np.flatnonzero(1 - accuracy <= risk)
    # The curve has a point for each distinct confidence, from the highest one.
    return float(np.unique(sure)[::-1][good[-1]]) if good.size else None


def abstaining(confidence: Column, correct: Column, threshold: float | None, seed: int) -> Abstaining:
    """Return the share answered and the error among those answers, with 95 % bootstrap intervals.

    Args:
        confidence: 0 to 1, one an answer.
        correct: 0 or 1, one an answer.
        threshold: the least confidence that is answered; None answers nothing.
        seed: of the resampling.

    Example:
        >>> left = abstaining([0.9, 0.8, 0.3, 0.2], [1, 0, 0, 0], 0.5, seed=0)
        >>> left["answered"]["value"], left["error"]["value"]
        (0.5, 0.5)
    """
    sure, right = answer_columns(confidence, correct)
    taken = np.zeros(sure.size) if threshold is None else (sure >= threshold).astype(np.float64)
    wrong = taken * (1 - right)

    def shares(rows: NDArray[Any]) -> tuple[Values, Values]:
        left = taken[rows].sum(-1)
        error = np.divide(wrong[rows].sum(-1), left, where=left > 0, out=np.full(left.shape, np.nan))
        return left / max(1, sure.size), error

    drawn = [shares(rows) for rows in draws(sure.size, seed)]
    whole = shares(np.arange(sure.size)[None])
    answered, error = (
        as_entry(float(whole[place][0]), np.concatenate([[], *(block[place] for block in drawn)]))
        for place in (0, 1)
    )
    return {"answered": answered, "error": error}
