"""Figures that are a function of a ratio of two sums over samples: means and perplexities, with intervals.

lm-evaluation-harness adds up what it measured of each question in a few ways. Each of those here is a
transform of sum(values) / sum(weights), so resamples of the questions give intervals of a figure, of the
change from one model to another and of what is kept, all from the same resamples.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avss_core.metrics.bootstrap import as_entry, draws
from avss_core.metrics.columns import Values
from avss_core.metrics.records import Entry

_LARGEST_LOG = 700.0
"""A larger loss would overflow the exponential."""


def _perplexity(mean: Values) -> Values:
    """Return the perplexity of a mean log-likelihood in nats."""
    return np.exp(np.minimum(-mean, _LARGEST_LOG))


def _bits(mean: Values) -> Values:
    """Return bits of a mean log-likelihood in nats."""
    return -mean / math.log(2)


def _same(mean: Values) -> Values:
    return mean


TRANSFORMS: Mapping[str, Callable[[Values], Values]] = {
    "mean": _same,
    "nanmean": _same,
    "perplexity": _perplexity,
    "weighted_perplexity": _perplexity,
    "bits_per_byte": _bits,
}
"""What becomes of the ratio of sums, by the name that lm-evaluation-harness gives the aggregation."""


@dataclass(frozen=True)
class SampleColumn:
    """One figure of each sample, and how they add up."""

    kind: str
    """A name in `TRANSFORMS`."""
    values: Values
    weights: Values

    @classmethod
    def of(cls, kind: str, samples: Sequence[Any]) -> "SampleColumn":
        """Return the column of what was measured: numbers, or pairs of a log-likelihood and a weight.

        Args:
            kind: a name in `TRANSFORMS`; of `nanmean` samples without a number weigh nothing.
            samples: one number a sample, or a pair if the kind weighs samples.

        Raises:
            ValueError: the samples are not of that shape, or there are none.

        Example:
            >>> SampleColumn.of("mean", [1, 0, 1, 1]).value
            0.75
            >>> pairs = [(-math.log(4), 1), (-math.log(16), 2)]  # log-likelihoods of texts of 1 and 2 words
            >>> round(SampleColumn.of("weighted_perplexity", pairs).value, 9)
            4.0
        """
        table = np.asarray(samples, dtype=np.float64)
        if table.size and table.ndim == 2 and table.shape[1] == 2:
            return cls(kind, table[:, 0], table[:, 1])
        if not table.size or table.ndim != 1:
            raise ValueError(f"samples have shape {table.shape}; expected one number or one pair each")
        counted = ~np.isnan(table) if kind == "nanmean" else np.ones(table.size, dtype=bool)
        return cls(kind, np.where(counted, table, 0.0), counted.astype(np.float64))

    @property
    def value(self) -> float:
        """The figure of all samples, nan if no sample weighs anything."""
        return float(self._on(np.arange(self.values.size)[None])[0])

    def resampled(self, seed: int) -> Values:
        """Return the figure on each resample; equal seeds and numbers of samples take the same samples."""
        return np.concatenate([self._on(rows) for rows in draws(self.values.size, seed)])

    def _on(self, rows: Any) -> Values:
        """Return the figure on resamples, one a row."""
        sums, weights = self.values[rows].sum(1), self.weights[rows].sum(1)
        ratio = np.where(weights > 0, sums / np.where(weights > 0, weights, 1.0), math.nan)
        return TRANSFORMS[self.kind](ratio)


def with_interval(column: SampleColumn, seed: int) -> Entry:
    """Return a figure with its 95 % bootstrap interval over samples."""
    return as_entry(column.value, column.resampled(seed))


def change_of(before: SampleColumn, after: SampleColumn, seed: int) -> Entry:
    """Return after minus before with its paired 95 % bootstrap interval over samples.

    Raises:
        ValueError: there are not as many samples after as before.

    Example:
        >>> change_of(SampleColumn.of("mean", [1, 1]), SampleColumn.of("mean", [1, 0]), seed=0)["value"]
        -0.5
    """
    (one, first), (other, second) = _sides(before, after, seed)
    return as_entry(other - one, second - first)


def kept_of(
    before: SampleColumn, after: SampleColumn, *, higher_is_better: bool, chance: float = 0.0, seed: int
) -> Entry:
    """Return the share of a figure that the second model keeps, with its paired 95 % bootstrap interval.

    (after - chance) / (before - chance) where higher is better, else before / after: 1 keeps all. None if
    the figure before does not exceed chance; such resamples are left out of the interval.

    Args:
        before: what the first model reached on each sample.
        after: the same of the second model, in the same order.
        higher_is_better: whether a good model has a high figure.
        chance: what guessing would reach; counts only where higher is better.
        seed: of the resampling.

    Raises:
        ValueError: there are not as many samples after as before.

    Example:
        >>> losses = (SampleColumn.of("perplexity", [-math.log(base)] * 3) for base in (2, 4))
        >>> kept_of(*losses, higher_is_better=False, seed=0)["value"]
        0.5
    """
    (one, first), (other, second) = _sides(before, after, seed)
    if not higher_is_better:
        one, first, other, second, chance = other, second, one, first, 0.0
    value = _ratio(np.atleast_1d(one) - chance, np.atleast_1d(other) - chance)
    return as_entry(float(value[0]), _ratio(first - chance, second - chance))


def _sides(
    before: SampleColumn, after: SampleColumn, seed: int
) -> tuple[tuple[float, Values], tuple[float, Values]]:
    """Return the figure of each model, and what it is on each resample of the same samples."""
    if before.values.shape != after.values.shape:
        raise ValueError(
            f"before has {before.values.size} samples, after {after.values.size}; expected as many"
        )
    return (before.value, before.resampled(seed)), (after.value, after.resampled(seed))


def _ratio(before: Values, after: Values) -> Values:
    """Return after / before, nan if before does not exceed 0."""
    # A share minus the same share, taken as chance, can leave a rounding error.
    some = before > 1e-12
    return np.where(some, after / np.where(some, before, 1.0), math.nan)
