"""How much a choice of layers depends on the text that it was measured on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from avss_core.scores.evidence import Evidence, together
from avss_core.scores.score_records import ChoiceStability, ScoreInterval

NOISE = 0.05
"""A layer that goes in more than this share of the resamples, and stays in more than it, is undecided."""

LEAST_PARTS = 4
"""Parts of a text from which resamples tell how sure a choice is.

Resamples of n parts spread a mean over 1.96 sqrt((n - 1) / n) of its standard errors on either side, where
Student's t of so few parts asks for t(n - 1): the quotient is 0 for one part, 0.11 for 2, 0.37 for 3, 0.53
for 4 and 0.78 for 8. Our reading: from one half on they show the noise. One part has none to show, and would
look certain.
"""

Choose = Callable[[Float[Tensor, " layers"]], list[int]]
"""Returns the layers that scores remove."""


@dataclass(frozen=True)
class Stability:
    """What resamples of the calibration text say of one choice."""

    frequency: tuple[float, ...]
    """Share of the resamples in which each layer goes, in depth order."""
    same: float
    """Share of the resamples that remove exactly the chosen layers."""
    undecided: tuple[int, ...]
    """Layers that go in some resamples and stay in others: if there are any, the cut lies in the noise."""
    interval: ScoreInterval
    """2.5th and 97.5th percentile of each layer's score over the resamples."""


@dataclass(frozen=True)
class OtherText:
    """What a score would have seen of other text than the whole calibration text."""

    resamples: Sequence[Evidence]
    beginnings: Sequence[Evidence] = ()
    """The first 1, 2, 4, ... parts."""
    sources: Mapping[str, Evidence] | None = None
    """Other texts by name."""


def draws(parts: int, resamples: int, seed: int) -> list[list[int]]:
    """Return resamples of the parts of a text, as many as it has, with replacement.

    Raises:
        ValueError: there are fewer than `LEAST_PARTS`.
    """
    if parts < LEAST_PARTS:
        raise ValueError(too_little(parts))
    drawn: list[list[int]] = np.random.default_rng(seed).integers(parts, size=(resamples, parts)).tolist()
    return drawn


def resampled(parts: Sequence[Evidence], resamples: int, seed: int) -> list[Evidence]:
    """Return what a score sees of each resample of the parts of a text.

    Raises:
        ValueError: there are fewer than `LEAST_PARTS` parts.
    """
    return [together([parts[index] for index in draw]) for draw in draws(len(parts), resamples, seed)]


def too_little(parts: int) -> str:
    """Return why nobody can say how sure a choice is that was made on text in so few parts.

    Example:
        >>> too_little(1)[:62]
        'too little text to say how sure the choice is: 1 window or par'
    """
    units = "1 window or part" if parts == 1 else f"{parts} windows or parts"
    return (
        f"too little text to say how sure the choice is: {units}, and it takes {LEAST_PARTS}; give more "
        "text, or smaller windows (collect.window) in more parts (collect.parts)"
    )


def beginnings(parts: Sequence[Evidence]) -> list[Evidence]:
    """Return what a score sees of the first 1, 2, 4, ... parts of a text, but not of all of them."""
    doubling = (1 << power for power in range(len(parts).bit_length()))
    return [together(parts[:count]) for count in doubling if count < len(parts)]


def stability(
    removed: Sequence[int], scores: Sequence[Float[Tensor, " layers"]], choose: Choose
) -> Stability:
    """Return how the choices on resamples compare with the choice made on the whole text.

    Args:
        removed: the layers chosen on the whole text.
        scores: those of each resample; at least one.
        choose: how scores become layers to remove.

    Raises:
        ValueError: there is no resample.

    Example:
        >>> import torch
        >>> lowest = lambda scores: [int(scores.argmin())]
        >>> sure = stability([0], [torch.tensor([1.0, 2.0])] * 3 + [torch.tensor([1.0, 0.5])], lowest)
        >>> sure.frequency, sure.same, sure.undecided
        ((0.75, 0.25), 0.75, (0, 1))
    """
    if not scores:
        raise ValueError("no resample was made; set score.resamples to at least 1")
    choices = [choose(values) for values in scores]
    layers = range(len(scores[0]))
    frequency = tuple(sum(layer in choice for choice in choices) / len(choices) for layer in layers)
    same = sum(set(choice) == set(removed) for choice in choices) / len(choices)
    undecided = tuple(layer for layer, share in enumerate(frequency) if NOISE < share < 1 - NOISE)
    low, high = np.quantile([values.tolist() for values in scores], [0.025, 0.975], axis=0)
    return Stability(frequency, same, undecided, {"low": low.tolist(), "high": high.tolist()})


def stability_record(
    removed: Sequence[int],
    other: OtherText,
    score: Callable[[Evidence], Float[Tensor, " layers"]],
    choose: Choose,
) -> ChoiceStability:
    """Return how sure a choice is, and what less text and other texts would have chosen.

    Args:
        removed: the layers chosen on the whole text.
        other: evidence on other text.
        score: the function of the score.
        choose: how scores become layers to remove.

    Raises:
        ValueError: there is no resample.
    """
    sure = stability(removed, [score(evidence) for evidence in other.resamples], choose)
    return {
        "frequency": sure.frequency,
        "same": sure.same,
        "undecided": sure.undecided,
        "interval": sure.interval,
        "sizes": [{"tokens": each.tokens, "removed": choose(score(each))} for each in other.beginnings],
        "sources": {name: choose(score(each)) for name, each in (other.sources or {}).items()},
    }
