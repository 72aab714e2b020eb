"""Calibration figures as LitCab's scripts compute them, to compare with its published numbers.

Columns, bad values and figures without answers are treated as in `calibration`.

Source: Liu et al. 2024, arXiv 2310.19208; github.com/launchnlp/LitCab at aaa0582, evaluate/get_ECE.py and
evaluate/get_acc_q.py, which the paper's text leaves open.
"""

import math
from functools import partial

import numpy as np

from avss_core.metrics.columns import Column, Values, figure


def ece_litcab(confidence: Column, correct: Column) -> float:
    """Return LitCab's calibration error (0 to 1).

    Unlike `ece`: confidence is first stretched to span 0 to 1; a bin's accuracy is compared with the middle
    of the bin, not with the mean confidence; and the answers with the highest confidence are an eleventh bin,
    compared with 1. nan if all confidences are equal, where the script divides by zero.

    Example:
        >>> round(ece_litcab([0.2, 0.6], [0, 1]), 3)  # (1/2) |0 - 0.05| + (1/2) |1 - 1|
        0.025
    """
    return figure(ece_litcab_rows, confidence, correct)


def acc_at_litcab(confidence: Column, correct: Column, share: float = 0.5) -> float:
    """Return LitCab's acc@q: the accuracy of the most confident share of answers (0 to 1).

    Unlike `accuracy_at`: the share of n is rounded down, and 0 answers stand for all; among answers tied in
    confidence the correct ones are taken first.

    Raises:
        ValueError: `share` is outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; expected a number from 0 to 1")
    return figure(partial(acc_at_litcab_rows, share=share), confidence, correct)


def cov_at_litcab(confidence: Column, correct: Column, accuracy: float = 0.5) -> float:
    """Return LitCab's cov@p: the largest most confident share of answers with more than that accuracy.

    Unlike `coverage_at`: the accuracy must be exceeded, not reached; all answers together are not tried, so
    the figure is at most (n - 1) / n; ties are split, the correct ones first.

    Raises:
        ValueError: `accuracy` is outside 0 to 1.
    """
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy is {accuracy}; expected a number from 0 to 1")
    return figure(partial(cov_at_litcab_rows, accuracy=accuracy), confidence, correct)


def ece_litcab_rows(sure: Values, right: Values) -> Values:
    """Return `ece_litcab` of each row of answers."""
    shifted = sure - sure.min(1, keepdims=True)
    highest = shifted.max(1, keepdims=True)
    flat = highest[:, 0] == 0
    cells = (shifted / np.where(highest == 0, 1, highest) / 0.1).astype(np.int64)
    rows = len(sure)
    count = partial(np.bincount, (cells + 11 * np.arange(rows)[:, None]).ravel(), minlength=11 * rows)
    counts, sums = (count(weights).reshape(rows, 11) for weights in (None, right.ravel()))
    targets = np.append(np.arange(0.05, 1.0, 0.1), 1.0)
    # A bin's count cancels: count / n * |y / count - target| = |y - count * target| / n.
    result: Values = np.abs(sums - counts * targets).sum(1) / sure.shape[1]
    return np.where(flat, math.nan, result)


def acc_at_litcab_rows(sure: Values, right: Values, share: float) -> Values:
    """Return `acc_at_litcab` of each row of answers."""
    size = sure.shape[1]
    result: Values = _falling(sure, right)[:, : int(size * share) or size].mean(1)
    return result


def cov_at_litcab_rows(sure: Values, right: Values, accuracy: float) -> Values:
    """Return `cov_at_litcab` of each row of answers."""
    size = sure.shape[1]
    taken = np.arange(1, size)
    exceeded = _falling(sure, right)[:, :-1].cumsum(1) / taken > accuracy
    result: Values = (taken * exceeded).max(1, initial=0) / size
    return result


def _falling(sure: Values, right: Values) -> Values:
    """Return the verdicts by falling confidence, correct ones first among ties."""
    return np.take_along_axis(right, np.lexsort((-right, -sure), axis=1), axis=1)
