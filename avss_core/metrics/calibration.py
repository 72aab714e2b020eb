"""Calibration: does confidence tell right answers from wrong ones?

Throughout, `confidence` is 0 to 1 and `correct` is 0 or 1, one of each for an answer. Other values and
columns of different length raise a ValueError that names them; figures without answers are nan. A function
that ends in `_rows` takes checked columns with a row for each group of answers, such as a resample.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from avss_core.metrics.columns import Column, Values, answer_columns, figure


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence is at least `lower` and under `upper`; the last bin holds 1 too."""

    lower: float
    upper: float
    count: int
    confidence: float
    """Mean confidence, nan for an empty bin."""
    accuracy: float
    """Share that is correct, nan for an empty bin."""


def accuracy_at(confidence: Column, correct: Column, share: float = 0.5) -> float:
    """Return the accuracy of the most confident share of answers (0 to 1).

    The share of n answers is rounded down, to at least one.

    Raises:
        ValueError: `share` is outside 0 to 1.

    Source: Liu et al. 2024, arXiv 2310.19208 (LitCab, acc@q), whose script rounds down. Our reading: if tied
    answers straddle the cut, the expectation over which of them are taken.

    Example:
        >>> accuracy_at([0.9, 0.8, 0.8, 0.3], [1, 1, 0, 0], 0.5)  # 0.9, and either of the two with 0.8
        0.75
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; expected a number from 0 to 1")
    return figure(partial(accuracy_at_rows, share=share), confidence, correct)


def coverage_at(confidence: Column, correct: Column, accuracy: float = 0.5) -> float:
    """Return the largest most confident share of answers with at least that accuracy (0 to 1).

    0 if no share reaches it, 1 if all answers together do.

    Raises:
        ValueError: `accuracy` is outside 0 to 1.

    Source: Liu et al. 2024, arXiv 2310.19208 (LitCab, cov@p). Our reading: answers tied in confidence are
    taken all or none.

    Example:
        >>> coverage_at([0.9, 0.8, 0.8, 0.3], [1, 1, 0, 0], 0.6)  # of three 2/3 are correct, of four 1/2
        0.75
    """
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy is {accuracy}; expected a number from 0 to 1")
    return figure(partial(coverage_at_rows, accuracy=accuracy), confidence, correct)


def accuracy_coverage_curve(confidence: Column, correct: Column) -> tuple[Values, Values]:
    """Return the rising shares of answers taken, most confident first, and the accuracy among each (0 to 1).

    There is one point for each distinct confidence, so that tied answers are taken all or none; the last
    point is all answers. Without answers both are empty.

    Source: El-Yaniv and Wiener 2010, JMLR 11 (the risk-coverage curve; accuracy is 1 - risk).

    Example:
        >>> shares, accuracies = accuracy_coverage_curve([0.9, 0.8, 0.8, 0.3], [1, 1, 0, 0])
        >>> shares.tolist(), accuracies.round(2).tolist()
        ([0.25, 0.75, 1.0], [1.0, 0.67, 0.5])
    """
    sure, right = answer_columns(confidence, correct)
    taken, accuracy, whole = (column[0] for column in _selections(sure[None], right[None]))
    return taken[whole] / max(1, sure.size), accuracy[whole]


def auroc(confidence: Column, correct: Column) -> float:
    """Return the chance that a correct answer is more confident than a wrong one, ties half (0 to 1).

    0.5 is chance; nan if all answers are correct or all wrong.

    Source: Hanley and McNeil 1982, Radiology 143 (the area under the ROC curve as Wilcoxon's statistic).

    Example:
        >>> auroc([0.9, 0.8, 0.8, 0.3], [1, 1, 0, 0])  # of four pairs three are won and one is tied
        0.875
    """
    return figure(auroc_rows, confidence, correct)


def reliability(confidence: Column, correct: Column, bins: int = 10) -> list[Bin]:
    """Return bins of equal width on 0 to 1 in rising order, empty ones too; their counts add up to n.

    Raises:
        ValueError: `bins` is under 1.

    Example:
        >>> low, high = reliability([0.95, 0.85], [1, 0], bins=2)
        >>> low.count, high.count, high.accuracy
        (0, 2, 0.5)
    """
    sure, right = answer_columns(confidence, correct)
    counts, *sums = (column[0] for column in _bin_sums(sure[None], right[None], bins))
    means = [np.divide(total, counts, where=counts > 0, out=np.full(bins, math.nan)) for total in sums]
    edges = _edges(bins)
    columns = (edges[:-1], edges[1:], counts.astype(int), *means)
    return [Bin(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def ece(confidence: Column, correct: Column, bins: int = 10) -> float:
    """Return the expected calibration error (0 to 1) over bins of equal width.

    ECE = sum over bins of count / n * |accuracy - mean confidence|

    Biased upwards in small samples, and again in each bootstrap resample: the interval can lie above it.

    Raises:
        ValueError: `bins` is under 1.

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3. Our reading: a confidence on an inner edge counts in the
    bin above.

    Example:
        >>> round(ece([0.9, 0.9, 0.2, 0.2], [1, 0, 0, 0]), 3)  # (2/4) |0.5 - 0.9| + (2/4) |0 - 0.2|
        0.3
    """
    return figure(partial(ece_rows, bins=bins), confidence, correct)


def brier(confidence: Column, correct: Column) -> float:
    """Return the mean squared difference of confidence and correctness (0 to 1).

    Source: Brier 1950, halved as is usual for two classes.

    Example:
        >>> round(brier([0.9, 0.2], [1, 0]), 3)  # (0.01 + 0.04) / 2
        0.025
    """
    return figure(brier_rows, confidence, correct)


def brier_skill(confidence: Column, correct: Column) -> float:
    """Return 1 - Brier / (p (1 - p)), with p the share of correct answers: 1 is perfect, 0 as good as p.

    Below 0, the confidence p for every answer would be better. nan if all answers are correct or all wrong.

    Source: Wilks 2011, "Statistical Methods in the Atmospheric Sciences", section 8.4.2. Our reading: p is
    the share among the evaluated answers, which no forecast knows, so the skill is on the low side.

    Example:
        >>> round(brier_skill([0.9, 0.2], [1, 0]), 3)  # 1 - 0.025 / 0.25
        0.9
    """
    return figure(brier_skill_rows, confidence, correct)


def accuracy_at_rows(sure: Values, right: Values, share: float) -> Values:
    """Return `accuracy_at` of each row of answers."""
    size = sure.shape[1]
    taken = math.floor(size * share)
    # The product can round to just under a whole number: 100 * 0.29 is 28.999999999999996.
    if (taken + 1) / size <= share:
        taken += 1
    taken = max(1, taken)
    cut = np.partition(sure, size - taken)[:, [size - taken]]
    above, tied = sure > cut, sure == cut
    tied_accuracy = (right * tied).sum(1) / tied.sum(1)
    result: Values = ((right * above).sum(1) + (taken - above.sum(1)) * tied_accuracy) / taken
    return result


def coverage_at_rows(sure: Values, right: Values, accuracy: float) -> Values:
    """Return `coverage_at` of each row of answers."""
    taken, reached, whole = _selections(sure, right)
    result: Values = (taken * (whole & (reached >= accuracy))).max(1) / sure.shape[1]
    return result


def auroc_rows(sure: Values, right: Values) -> Values:
    """Return `auroc` of each row of answers."""
    correct = right.sum(1)
    pairs = correct * (sure.shape[1] - correct)
    won = (rankdata(sure, axis=1) * right).sum(1) - correct * (correct + 1) / 2
    result: Values = np.divide(won, pairs, where=pairs > 0, out=np.full(len(sure), math.nan))
    return result


def ece_rows(sure: Values, right: Values, bins: int) -> Values:
    """Return `ece` of each row of answers."""
    _, sure_sums, right_sums = _bin_sums(sure, right, bins)
    # A bin's count cancels: count / n * |y / count - c / count| = |y - c| / n.
    result: Values = np.abs(right_sums - sure_sums).sum(1) / sure.shape[1]
    return result


def brier_rows(sure: Values, right: Values) -> Values:
    """Return `brier` of each row of answers."""
    result: Values = np.square(sure - right).mean(1)
    return result


def brier_skill_rows(sure: Values, right: Values) -> Values:
    """Return `brier_skill` of each row of answers."""
    share = right.mean(1)
    spread = share * (1 - share)
    ratio: Values = np.divide(
        brier_rows(sure, right), spread, where=spread > 0, out=np.full(len(sure), math.nan)
    )
    return 1 - ratio


def _selections(sure: Values, right: Values) -> tuple[Values, Values, NDArray[np.bool_]]:
    """Return each number of most confident answers, their accuracy, and whether the cut splits no tie."""
    order = np.argsort(-sure, axis=1)
    falling = np.take_along_axis(sure, order, axis=1)
    taken = np.broadcast_to(np.arange(1.0, sure.shape[1] + 1), sure.shape)
    accuracy = np.take_along_axis(right, order, axis=1).cumsum(1) / taken
    return taken, accuracy, np.diff(falling, axis=1, append=-1.0) != 0


def _bin_sums(sure: Values, right: Values, bins: int) -> list[Values]:
    """Return the bins' counts, summed confidence and summed correctness, for each row of answers."""
    # The bins of one row follow those of another, so that a single count serves all rows.
    cells = np.searchsorted(_edges(bins)[1:-1], sure, side="right") + bins * np.arange(len(sure))[:, None]
    weights = (np.ones_like(sure), sure, right)
    sums = (np.bincount(cells.ravel(), weight.ravel(), minlength=bins * len(sure)) for weight in weights)
    return [np.asarray(column, dtype=np.float64).reshape(len(sure), bins) for column in sums]


def _edges(bins: int) -> Values:
    """Return the edges of equal bins on 0 to 1."""
    if bins < 1:
        raise ValueError(f"bins is {bins}; expected at least 1")
    # Quotients, not sums of steps, so that an edge equals a confidence written as 0.3.
    result: Values = np.arange(bins + 1) / bins
    return result
