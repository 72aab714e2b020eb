"""How much a choice of layers hangs on the text that it was measured on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NOISE = 0.05
"""A layer that goes in more than this share of the resamples, and stays in more than it, is undecided."""


@dataclass(frozen=True)
class Stability:
    """What resamples of the calibration text say of one choice."""

    frequency: tuple[float, ...]
    """Share of the resamples in which each layer goes, in depth order."""
    same: float
    """Share of the resamples that remove exactly the chosen layers."""
    undecided: tuple[int, ...]
    """Layers that go in some resamples and stay in others: where there are any, the cut lies in the noise."""


def draws(parts: int, resamples: int, seed: int) -> list[list[int]]:
    """Return resamples of the parts of a text, as many as it has, with replacement.

    Args:
        parts: how many parts the text was measured in.
        resamples: how many draws.
        seed: of the drawing.

    Raises:
        ValueError: there is no part.
    """
    if parts < 1:
        raise ValueError(f"a text in {parts} parts cannot be resampled; collect at least one part")
    drawn: list[list[int]] = np.random.default_rng(seed).integers(parts, size=(resamples, parts)).tolist()
    return drawn


def stability(removed: Sequence[int], choices: Sequence[Sequence[int]], layers: int) -> Stability:
    """Return how the choices of resamples compare with the choice made on the whole text.

    Args:
        removed: the layers chosen on the whole text.
        choices: the layers chosen on each resample; at least one.
        layers: how many layers the model has.

    Raises:
        ValueError: there is no resample.

    Example:
        >>> stability([0], [[0], [0], [1], [0]], layers=2)
        Stability(frequency=(0.75, 0.25), same=0.75, undecided=(0, 1))
    """
    if not choices:
        raise ValueError("no resample was made; set score.resamples to at least 1")
    frequency = tuple(sum(layer in choice for choice in choices) / len(choices) for layer in range(layers))
    same = sum(set(choice) == set(removed) for choice in choices) / len(choices)
    undecided = tuple(layer for layer, share in enumerate(frequency) if NOISE < share < 1 - NOISE)
    return Stability(frequency, same, undecided)


def score_interval(resampled: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    """Return where 95 % of the resamples put the score of each layer (unit of the score), in depth order.

    Args:
        resampled: the scores of all layers on each resample; at least one.

    Returns:
        low and high: the 2.5th and the 97.5th percentile of each layer.

    Raises:
        ValueError: there is no resample.
    """
    if not resampled:
        raise ValueError("no resample was made; set score.resamples to at least 1")
    low, high = np.quantile(np.asarray(resampled, dtype=np.float64), [0.025, 0.975], axis=0)
    return {"low": low.tolist(), "high": high.tolist()}
