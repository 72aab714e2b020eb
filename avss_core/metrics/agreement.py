"""Compare two measurements of the same thing: choices of layers, and figures with intervals."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from avss_core.metrics.records import Entry

Figure = Entry | Mapping[str, float | None]
"""value, low and high; None where there is no value."""


@dataclass(frozen=True)
class Overlap:
    """Layers in two choices, each list in rising order."""

    shared: list[int]
    only_first: list[int]
    only_second: list[int]

    @property
    def jaccard(self) -> float | None:
        """Return the share of layers in either choice that are in both (0 to 1), None if both are empty."""
        either = len(self.shared) + len(self.only_first) + len(self.only_second)
        return len(self.shared) / either if either else None


def overlap(first: Collection[int], second: Collection[int]) -> Overlap:
    """Return the layers that both choices hold, and those that only one does."""
    one, other = set(first), set(second)
    return Overlap(sorted(one & other), sorted(one - other), sorted(other - one))


def apart(first: Figure, second: Figure) -> bool:
    """Tell whether two intervals exist and do not overlap; ends that touch overlap.

    This is stricter than a test of the difference: figures with overlapping intervals can surely differ.
    """
    ends = [figure[end] for figure in (first, second) for end in ("low", "high")]
    low, high, other_low, other_high = (math.nan if end is None else end for end in ends)
    return high < other_low or other_high < low


def plain_difference(first: Figure, second: Figure) -> Entry:
    """Return second minus first without an interval, None if one of them has no value."""
    before, after = first["value"], second["value"]
    value = None if before is None or after is None else after - before
    return {"value": value, "low": None, "high": None}
