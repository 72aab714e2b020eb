"""Bootstrap intervals: seeded resamples of rows, and the central part of a figure's values on them."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from avss_core.metrics.columns import Column, Values, as_array
from avss_core.metrics.records import Entry

RESAMPLES = 1000

RESAMPLED_AT_ONCE = 2**20
"""Values of a column that are resampled at one time, so that memory does not grow with their number."""


def bootstrap_interval(
    statistic: Callable[..., float],
    *columns: Column,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = 0.95,
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

    Example:
        >>> low, high = bootstrap_interval(np.mean, [0, 1, 1, 1, 0, 1, 1, 0, 1, 1], seed=0)
        >>> 0.3 <= low < 0.7 < high <= 1.0
        True
    """
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"resamples is {resamples}, level {level}; expected at least 1, and between 0 and 1")
    arrays = [as_array(column) for column in columns]
    sizes = {len(array) for array in arrays}
    if len(sizes) != 1:
        raise ValueError(f"the columns have {sorted(sizes)} rows; expected one number for one column or more")
    rows_of_each = (rows for block in draws(sizes.pop(), seed, resamples) for rows in block)
    return interval(np.array([statistic(*(array[rows] for array in arrays)) for rows in rows_of_each]), level)


def draws(size: int, seed: int, resamples: int = RESAMPLES) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of seeded resamples, a resample a row, in blocks; nothing without rows to draw from."""
    generator = np.random.default_rng(seed)
    step = max(1, RESAMPLED_AT_ONCE // max(1, size))
    for start in range(0, resamples if size else 0, step):
        yield generator.integers(size, size=(min(step, resamples - start), size))


def interval(values: Values, level: float = 0.95) -> tuple[float, float]:
    """Return the central interval that holds `level` of the values that are not nan; nan without any."""
    defined = values[~np.isnan(values)]
    if defined.size == 0:
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def as_entry(value: float, resampled: Values) -> Entry:
    """Return a figure with its 95 % interval as JSON: None in place of nan."""
    numbers = (float(value), *interval(resampled))
    known, low, high = (None if math.isnan(number) else number for number in numbers)
    return {"value": known, "low": low, "high": high}
