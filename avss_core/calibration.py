"""Whether confidence tells right from wrong: selective accuracy, calibration error and their intervals.

Throughout, `confidence` is 0 to 1 and `correct` is 0 or 1, one of each for an answer. Any other value and
columns of different length are a ValueError that names them; figures of no answers are nan.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, float64

SMALL_N = 100
"""Under this many answers the figures are mostly noise: a perfectly calibrated model's ECE is far from 0."""

RESAMPLED_AT_ONCE = 2**20
"""Values of a column that resamples hold at one time, so that memory does not grow with their number."""

Column: TypeAlias = Sequence[float | int] | NDArray[Any] | Tensor
"""One value a row."""

_Values: TypeAlias = NDArray[np.float64]


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

    That share of n is rounded up, to at least one answer.

    Raises:
        ValueError: `share` is outside 0 to 1.

    Source: Liu et al. 2024, arXiv 2310.19208 (LitCab, acc@q). Our reading: where answers tied in confidence
    straddle the cut, the expectation over which of them are taken.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; expected a number from 0 to 1")
    return _figure(partial(_accuracy_at, share=share), confidence, correct)


def coverage_at(confidence: Column, correct: Column, accuracy: float = 0.5) -> float:
    """Return the largest most confident share of answers with at least that accuracy (0 to 1).

    0 if no share reaches it, 1 if all answers together do.

    Raises:
        ValueError: `accuracy` is outside 0 to 1.

    Source: Liu et al. 2024, arXiv 2310.19208 (LitCab, cov@p). Our reading: answers tied in confidence are
    taken all or none.
    """
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy is {accuracy}; expected a number from 0 to 1")
    return _figure(partial(_coverage_at, accuracy=accuracy), confidence, correct)


def reliability(confidence: Column, correct: Column, bins: int = 10) -> list[Bin]:
    """Return all bins of equal width on 0 to 1, empty ones too, in rising order; their counts add up to n.

    Raises:
        ValueError: `bins` is under 1.
    """
    sure, right = _columns(confidence, correct)
    counts, *sums = (column[0] for column in _bin_sums(sure[None], right[None], bins))
    means = [np.divide(total, counts, where=counts > 0, out=np.full(bins, math.nan)) for total in sums]
    edges = _edges(bins)
    columns = (edges[:-1], edges[1:], counts.astype(int), *means)
    return [Bin(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def ece(confidence: Column, correct: Column, bins: int = 10) -> float:
    """Return the expected calibration error (0 to 1) over bins of equal width.

    ECE = sum over bins of count / n * |accuracy - mean confidence|

    Biased upwards in small samples, and in each bootstrap resample once more: the interval can lie above it.

    Raises:
        ValueError: `bins` is under 1.

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3. Our reading: a confidence on an inner edge counts in the
    bin above.
    """
    return _figure(partial(_ece, bins=bins), confidence, correct)


def brier(confidence: Column, correct: Column) -> float:
    """Return the mean squared difference of confidence and correctness (0 to 1).

    Source: Brier 1950, halved as is usual for two classes.
    """
    return _figure(_brier, confidence, correct)


def bootstrap_interval(
    statistic: Callable[..., float], *columns: Column, seed: int, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Return the low and high end of the percentile bootstrap interval over rows, nan without rows.

    A resample takes the same rows of every column, so a difference of columns gets a paired interval; equal
    seeds and row counts take the same rows. Resamples for which the statistic is nan are left out.

    Args:
        statistic: called with an array for each column.
        columns: equally many rows each, along the first axis.
        seed: of the resampling.
        resamples: how many, at least 1.
        level: the coverage aimed at, between 0 and 1.

    Raises:
        ValueError: no column, columns of different length, `resamples` under 1, `level` not between 0 and 1.

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.
    """
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"resamples is {resamples}, level {level}; expected at least 1, and between 0 and 1")
    arrays = [_array(column) for column in columns]
    sizes = {len(array) for array in arrays}
    if len(sizes) != 1:
        raise ValueError(f"the columns have {sorted(sizes)} rows; expected one number for one column or more")
    draws = (rows for block in _draws(sizes.pop(), seed, resamples) for rows in block)
    return _interval(np.array([statistic(*(array[rows] for array in arrays)) for rows in draws]), level)


def summarise(confidence: Column, correct: Column, seed: int) -> dict[str, Any]:
    """Return the figures of answers with their 95 % bootstrap intervals, ready for JSON.

    Returns:
        n; small_n (n is under `SMALL_N`); value, low and high of accuracy, accuracy_at_50, coverage_at_50,
        ece and brier, None without answers.
    """
    sure, right = _columns(confidence, correct)
    blocks = [
        [figure(sure[rows], right[rows]) for figure in _FIGURES.values()]
        for rows in _draws(sure.size, seed, resamples=1000)
    ]
    summary: dict[str, Any] = {"n": sure.size, "small_n": sure.size < SMALL_N}
    for index, (name, figure) in enumerate(_FIGURES.items()):
        low, high = _interval(np.concatenate([[], *(block[index] for block in blocks)]), level=0.95)
        ends = {"value": _figure(figure, sure, right), "low": low, "high": high}
        summary[name] = {end: None if math.isnan(value) else value for end, value in ends.items()}
    return summary


def _accuracy_at(sure: _Values, right: _Values, share: float) -> _Values:
    """Return `accuracy_at` of each row of answers."""
    size = sure.shape[1]
    taken = max(1, math.ceil(size * share))
    # The product can round to just above a whole number: 100 * 0.07 is 7.000000000000001.
    if taken > 1 and (taken - 1) / size >= share:
        taken -= 1
    cut = np.partition(sure, size - taken)[:, [size - taken]]
    above, tied = sure > cut, sure == cut
    tied_accuracy = (right * tied).sum(1) / tied.sum(1)
    result: _Values = ((right * above).sum(1) + (taken - above.sum(1)) * tied_accuracy) / taken
    return result


def _coverage_at(sure: _Values, right: _Values, accuracy: float) -> _Values:
    """Return `coverage_at` of each row of answers."""
    size = sure.shape[1]
    order = np.argsort(-sure, axis=1)
    falling = np.take_along_axis(sure, order, axis=1)
    last_of_tie = np.diff(falling, axis=1, append=-1.0) != 0
    taken = np.arange(1, size + 1)
    reached = np.take_along_axis(right, order, axis=1).cumsum(1) / taken >= accuracy
    result: _Values = (taken * (last_of_tie & reached)).max(1) / size
    return result


def _ece(sure: _Values, right: _Values, bins: int) -> _Values:
    """Return `ece` of each row of answers."""
    _, sure_sums, right_sums = _bin_sums(sure, right, bins)
    # A bin's count cancels: count / n * |y / count - c / count| = |y - c| / n.
    result: _Values = np.abs(right_sums - sure_sums).sum(1) / sure.shape[1]
    return result


def _brier(sure: _Values, right: _Values) -> _Values:
    """Return `brier` of each row of answers."""
    result: _Values = np.square(sure - right).mean(1)
    return result


_FIGURES: Mapping[str, Callable[[_Values, _Values], _Values]] = {
    "accuracy": partial(_accuracy_at, share=1.0),
    "accuracy_at_50": partial(_accuracy_at, share=0.5),
    "coverage_at_50": partial(_coverage_at, accuracy=0.5),
    "ece": partial(_ece, bins=10),
    "brier": _brier,
}
"""The figures of a summary; each takes checked columns, a row a resample, and returns one value a row."""


def _bin_sums(sure: _Values, right: _Values, bins: int) -> list[_Values]:
    """Return the bins' counts, summed confidence and summed correctness, for each row of answers."""
    # One row of bins after another, so that a single count serves all rows.
    cells = np.searchsorted(_edges(bins)[1:-1], sure, side="right") + bins * np.arange(len(sure))[:, None]
    weights = (np.ones_like(sure), sure, right)
    sums = (np.bincount(cells.ravel(), weight.ravel(), minlength=bins * len(sure)) for weight in weights)
    return [np.asarray(column, dtype=np.float64).reshape(len(sure), bins) for column in sums]


def _edges(bins: int) -> _Values:
    """Return the edges of equal bins on 0 to 1."""
    if bins < 1:
        raise ValueError(f"bins is {bins}; expected at least 1")
    # Quotients, not a sum of steps: an edge is then the same number as a confidence written 0.3.
    result: _Values = np.arange(bins + 1) / bins
    return result


def _figure(figure: Callable[[_Values, _Values], _Values], confidence: Column, correct: Column) -> float:
    """Return a figure of one row of answers, nan without answers."""
    sure, right = _columns(confidence, correct)
    return float(figure(sure[None], right[None])[0]) if sure.size else math.nan


def _draws(size: int, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of seeded resamples, a resample a row, in blocks; nothing without rows to draw from."""
    generator = np.random.default_rng(seed)
    step = max(1, RESAMPLED_AT_ONCE // max(1, size))
    for start in range(0, resamples if size else 0, step):
        yield generator.integers(size, size=(min(step, resamples - start), size))


def _interval(values: _Values, level: float) -> tuple[float, float]:
    """Return the central interval that holds `level` of the values, nan if none is a number."""
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _columns(confidence: Column, correct: Column) -> tuple[_Values, _Values]:
    """Return both columns as float64, refusing what is no confidence or no verdict."""
    sure, right = (np.asarray(_array(column), dtype=np.float64) for column in (confidence, correct))
    if sure.ndim != 1 or sure.shape != right.shape:
        raise ValueError(f"confidence has shape {sure.shape}, correct {right.shape}; expected one equal axis")
    _require("confidence", sure, (sure >= 0) & (sure <= 1), "a number from 0 to 1")
    _require("correct", right, (right == 0) | (right == 1), "0 or 1")
    return sure, right


def _require(name: str, column: _Values, valid: NDArray[np.bool_], expected: str) -> None:
    """Refuse a column with a value that is not valid, by its index."""
    if not valid.all():
        index = int(valid.argmin())
        raise ValueError(f"{name}[{index}] is {column[index]}; expected {expected}")


def _array(column: Column) -> NDArray[Any]:
    """Return a column as an array."""
    if isinstance(column, Tensor):
        # NumPy has no bfloat16, and takes no tensor on a device or in a graph.
        return column.detach().to("cpu", dtype=float64).numpy()
    return np.asarray(column)
