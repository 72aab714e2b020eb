"""Where a curve of losses turns up."""

from collections.abc import Sequence


def knee(counts: Sequence[int], losses: Sequence[float | int]) -> int | None:
    """Return the place at which a rising curve lies furthest below the straight line between its ends.

    Both axes are scaled to 0..1 between the ends, x by the first and the last count, y by the first and the
    last loss; the knee is where x - y is largest, the first of several. There is none where fewer than three
    points are known, the curve does not rise, or no point lies below the line. It depends on where the curve
    ends: it parts what was tried, and proves nothing of what lies beyond.

    Args:
        counts: numbers of removed layers, ascending, from 0.
        losses: loss at each.

    Source: Satopaa et al. 2011, "Finding a 'Kneedle' in a Haystack", sections II and III. Our reading: the
    highest point of the difference curve, without smoothing and without their threshold, since a sweep has
    about ten points.

    Example:
        >>> knee([0, 1, 2, 3, 4], [3.0, 3.1, 3.2, 4.0, 5.0])
        2
    """
    if len(counts) < 3 or losses[-1] <= losses[0]:
        return None
    width, height = counts[-1] - counts[0], losses[-1] - losses[0]
    below = [
        (count - counts[0]) / width - (loss - losses[0]) / height
        for count, loss in zip(counts, losses, strict=True)
    ]
    best = max(range(len(below)), key=below.__getitem__)
    return best if below[best] > 0 else None
