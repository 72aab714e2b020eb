"""How far two measurements of the same thing agree: choices of layers, and figures with intervals."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from avss_core.metrics.records import Entry

Figure = Entry | Mapping[str, float | None]
"""value, low and high; None where there is no value."""


@dataclass(frozen=True)
class Overlap:
    """What two choices have in common, each in rising order."""

    shared: list[int]
    only_first: list[int]
    only_second: list[int]

    @property
    def jaccard(self) -> float | None:
        """Shared over all that either chose (0 to 1), None where both chose nothing."""
        either = len(self.shared) + len(self.only_first) + len(self.only_second)
        return len(self.shared) / either if either else None


def overlap(first: Collection[int], second: Collection[int]) -> Overlap:
    """Return which layers both choices hold, and which only one of them."""
    one, other = set(first), set(second)
    return Overlap(sorted(one & other), sorted(one - other), sorted(other - one))


def apart(first: Figure, second: Figure) -> bool:
    """Tell whether two intervals exist and do not overlap; ends that touch overlap.

    Stricter than a test of the difference: intervals that overlap can belong to figures that surely differ.
    """
    ends = (first["low"], first["high"], second["low"], second["high"])
    if any(end is None for end in ends):
        return False
    low, high, other_low, other_high = (float(end) for end in ends if end is not None)
    return high < other_low or other_high < low


def plain_difference(first: Figure, second: Figure) -> dict[str, float | None]:
    """Return second minus first without an interval, None where one of them has no value."""
    before, after = first["value"], second["value"]
    value = None if before is None or after is None else after - before
    return {"value": value, "low": None, "high": None}
