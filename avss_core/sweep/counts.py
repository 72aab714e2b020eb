"""Which numbers of layers a sweep removes."""

from collections.abc import Sequence

from avss_core.scores.choice import count_to_remove

MOST = 10
"""Numbers of layers that a sweep tries unless it is told which."""


def usual_counts(layers: int) -> list[int]:
    """Return at most `MOST` numbers of layers to remove, evenly from one to half of the layers.

    Raises:
        ValueError: the model has fewer than two layers.

    Example:
        >>> usual_counts(30), usual_counts(6)
        ([1, 3, 4, 6, 7, 9, 10, 12, 13, 15], [1, 2, 3])
    """
    deepest = count_to_remove(layers, 0.5)
    steps = min(MOST, deepest)
    if steps == 1:
        return [deepest]
    return sorted({round(1 + step * (deepest - 1) / (steps - 1)) for step in range(steps)})


def counts_of(layers: int, asked: Sequence[float | int], most: int | None = None) -> list[int]:
    """Return how many layers go for each number that is asked for, ascending and once each.

    Args:
        layers: of the model.
        asked: numbers of layers, or shares of them between 0 and 1, which are rounded down.
        most: layers that may go; None for all but one.

    Raises:
        ValueError: nothing is asked for, a number is neither a share nor a number of layers that can go, or
            the model has fewer than two layers.

    Example:
        >>> counts_of(30, [4, 0.25, 0.5, 7])
        [4, 7, 15]
    """
    if not asked:
        raise ValueError(
            "no number of layers to remove is named: give one such as 4, or a share such as 0.25"
        )
    count_to_remove(layers, 0.5)  # refuses a model of one layer by its own message
    room = layers - 1 if most is None else most
    counts = [count_to_remove(layers, number) if 0 < number < 1 else number for number in asked]
    for number, count in zip(asked, counts, strict=True):
        if not 1 <= count <= room or count != int(count):
            raise ValueError(
                f"cannot remove {number:g} of {layers} layers: expected a whole number from 1 to {room}, "
                "or a share between 0 and 1, such as 0.25"
            )
    return sorted({int(count) for count in counts})
