"""Compare freshly measured scores with those on record."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from avss_core.scores.ranking import kendall_tau
from avss_core.scores.score_records import ScoreInterval

ROUNDING = 1e-6
"""Relative change that another order of summation can cause; a smaller one is no change."""


@dataclass(frozen=True)
class Scored:
    """Scores of all layers, in depth order, and what they choose."""

    scores: Sequence[float]
    removed: Sequence[int]
    interval: ScoreInterval | None = None
    """`low` and `high` of each score over resamples of the text, None if the score was not resampled."""
    undecided: Sequence[int] = ()
    """Layers that other text may choose differently."""


@dataclass(frozen=True)
class Drift:
    """How fresh scores differ from those on record. Layers are numbered from 0."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    """Bounds within which a layer's score has not drifted, in depth order."""
    outside: tuple[int, ...]
    """Layers whose fresh score lies outside these bounds."""
    joined: tuple[int, ...]
    """Layers that are removed now and were not before."""
    left: tuple[int, ...]
    """Layers that were removed before and are not now."""
    decided: tuple[int, ...]
    """Layers in `joined` or `left` about which the record was sure."""
    agreement: float | None
    """Kendall's tau-b of the two orders (-1 to 1), None if all scores are equal."""
    largest: float
    """Largest relative change of a score; infinite if the score was 0."""

    @property
    def drifted(self) -> bool:
        """Tell whether the scores changed by more than other text would change them."""
        return bool(self.outside or self.decided)


def drift(before: Scored, after: Scored) -> Drift:
    """Return how fresh scores differ from those on record.

    A layer's bounds are the interval of its score over resamples of the text, widened to hold the score on
    record (without resamples, that score alone) and by `ROUNDING` at either end.

    Raises:
        ValueError: the numbers of layers differ.
    """
    if len(before.scores) != len(after.scores):
        raise ValueError(
            f"scores of {len(after.scores)} layers cannot be compared with those of {len(before.scores)} on "
            "record: that is another model"
        )
    interval = before.interval
    low = tuple(map(min, interval["low"] if interval else before.scores, before.scores))
    high = tuple(map(max, interval["high"] if interval else before.scores, before.scores))
    outside = tuple(
        layer
        for layer, (least, score, most) in enumerate(zip(low, after.scores, high, strict=True))
        if not least - ROUNDING * abs(least) <= score <= most + ROUNDING * abs(most)
    )
    was, now = set(before.removed), set(after.removed)
    return Drift(
        low,
        high,
        outside,
        tuple(sorted(now - was)),
        tuple(sorted(was - now)),
        tuple(sorted((now ^ was) - set(before.undecided))),
        kendall_tau(before.scores, after.scores),
        max(map(_change, before.scores, after.scores)),
    )


def _change(before: float, after: float) -> float:
    """Return the relative change."""
    if before == after:
        return 0.0
    return abs(after - before) / abs(before) if before else math.inf
