"""The types of scores and choices as JSON holds them; lists of one entry a layer are in depth order."""

from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

from avss_core.metrics.records import Agreement

Need = Literal["nothing", "statistics", "losses", "order", "repaired_order", "residuals"]
"""What a score needs measured: nothing, activations, the loss without each layer, greedy removal, the same
with a repair after each removal, or what a repair leaves open without each layer."""


class ScoredLayers(TypedDict):
    """Every layer's score by one reading, and the layers that it removes."""

    score: str
    reference: str
    needs: Need
    scores: list[float]
    normalised: list[float]
    """NAVSS: each score's share of their sum."""
    cumulative: list[float]
    """CAVSS: the running sum of NAVSS."""
    removed: list[int]
    shot_noise: list[int]
    """Layers with too few small activations for the score to be trusted."""
    own_rule: NotRequired[list[int]]
    """Layers that the authors' own rule removes."""


class Prefix(TypedDict):
    """The choice on the first tokens of the text."""

    tokens: int
    removed: list[int]


class ScoreInterval(TypedDict):
    """95 % interval of each layer's score over resamples of the text (unit of the score)."""

    low: list[float]
    high: list[float]


class ChoiceStability(TypedDict):
    """What other calibration text would choose."""

    frequency: Sequence[float]
    """Share of the resamples in which each layer goes."""
    same: float
    """Share of the resamples that remove exactly the chosen layers."""
    undecided: Sequence[int]
    interval: ScoreInterval
    sizes: list[Prefix]
    sources: dict[str, list[int]]
    """The choice on each other text, by its name."""


class ScoredReadings(TypedDict):
    """Several scores of one model side by side."""

    readings: dict[str, ScoredLayers]
    agreement: Agreement
    stability: dict[str, ChoiceStability]
    """Of the readings that were measured on a text in parts, enough of them to tell."""
    thin: dict[str, int]
    """Readings that were measured on too few parts of a text to tell how sure they are, with their number."""
