"""Whether scores that were measured afresh still say what those on record say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avss_core.scores.ranking import kendall_tau

ROUNDING = 1e-6
"""Share of a score that another order of adding up may change: below it nothing has changed."""


@dataclass(frozen=True)
class Scored:
    """Scores of all layers, in depth order, and what they choose."""

    scores: Sequence[float]
    removed: Sequence[int]
    interval: Mapping[str, Sequence[float]] | None = None
    """low and high of each score over resamples of the text, None where the score was not resampled."""
    undecided: Sequence[int] = ()
    """Layers about which other text would choose otherwise."""


@dataclass(frozen=True)
class Drift:
    """How fresh scores differ from those on record. Layers are numbered from 0."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    """The scores, in depth order, between which a layer has not drifted."""
    outside: tuple[int, ...]
    """Layers whose fresh score lies outside."""
    joined: tuple[int, ...]
    """Layers that would go now and would have stayed."""
    left: tuple[int, ...]
    """Layers that would stay now and would have gone."""
    decided: tuple[int, ...]
    """Those of them about which the record was sure."""
    agreement: float | None
    """Kendall's tau-b of the two orders (-1 to 1), None where all scores are equal."""
    largest: float
    """The largest change of a score, as a share of it; infinite where it was 0."""

    @property
    def drifted(self) -> bool:
        """Tell whether the scores changed by more than other text would have changed them."""
        return bool(self.outside or self.decided)


def drift(before: Scored, after: Scored) -> Drift:
    """Return how fresh scores differ from those on record.

    A layer is outside where its fresh score leaves the interval of its score over resamples of the text,
    widened to hold the score on record; without resamples the score on record is all that it holds. Either
    end gives way by `ROUNDING`.

    Raises:
        ValueError: the two are of different numbers of layers.
    """
    if len(before.scores) != len(after.scores):
        raise ValueError(
            f"scores of {len(after.scores)} layers cannot be compared with those of {len(before.scores)} on "
            "record: that is another model"
        )
    interval = before.interval or {"low": before.scores, "high": before.scores}
    low = tuple(map(min, interval["low"], before.scores))
    high = tuple(map(max, interval["high"], before.scores))
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
    """Return a change as a share of what was there."""
    if before == after:
        return 0.0
    return abs(after - before) / abs(before) if before else math.inf
