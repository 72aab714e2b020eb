"""Choose the layers to remove by their scores."""

import math
from typing import TypedDict

from jaxtyping import Float
from torch import Tensor

from avss_core.scores.ranking import rank


class Removal(TypedDict):
    """How many layers go and which are protected: the arguments of `choose_layers` beside the scores."""

    ratio: float
    protect_first: int
    protect_last: int


def count_to_remove(layers: int, ratio: float) -> int:
    """Return how many layers a ratio removes: rounded down, at least one, never all.

    Raises:
        ValueError: there are fewer than two layers, or the ratio does not lie between 0 and 1.

    Example:
        >>> count_to_remove(30, 0.25), count_to_remove(3, 0.25)
        (7, 1)
    """
    if layers < 2:
        raise ValueError(f"the model has {layers} layer; removing layers needs a model with at least 2")
    if not 0 < ratio < 1:
        raise ValueError(f"ratio {ratio} does not lie between 0 and 1 (0.25 removes a quarter of the layers)")
    # The margin lets 0.3 of 10 be 3, which binary fractions put just below.
    return min(max(1, math.floor(layers * ratio + 1e-9)), layers - 1)


def choose_layers(
    scores: Float[Tensor, " layers"], ratio: float, *, protect_first: int = 0, protect_last: int = 0
) -> list[int]:
    """Return the layers to remove, in depth order: those with the lowest scores, ties by index.

    Args:
        scores: one per layer, lowest is pruned first.
        ratio: share of the layers to remove.
        protect_first: leading layers that stay.
        protect_last: trailing layers that stay.

    Raises:
        ValueError: the protected layers leave too few to remove.

    Example:
        >>> import torch
        >>> choose_layers(torch.tensor([3.0, 1.0, 2.0, 1.0]), 0.5)
        [1, 3]
    """
    layers = len(scores)
    count = count_to_remove(layers, ratio)
    free = [layer for layer in rank(scores) if protect_first <= layer < layers - protect_last]
    if len(free) < count:
        raise ValueError(
            f"cannot remove {count} of {layers} layers: only {len(free)} are left when the first "
            f"{protect_first} and the last {protect_last} are protected"
        )
    return sorted(free[:count])
