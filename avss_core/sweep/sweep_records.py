"""What a sweep returns, as JSON holds it. Losses are in nats a token."""

from typing import NotRequired, TypedDict

from avss_core.metrics.records import Entry


class MeasuredLoss(TypedDict):
    """The loss of a model on the held-out text."""

    nll: float
    tokens: int
    window_means: list[float]
    preferred: NotRequired[list[bool]]
    """For each question, whether the truth is preferred to every wrong answer."""


class SweepPoint(TypedDict):
    """A model without some layers, as it is (`pruned`) or after the small repair (`repaired`)."""

    score: str
    removed_layers: int
    removed: list[int]
    """Numbers of the layers, in depth order."""
    model: str
    """`pruned` or `repaired`."""
    loss: float
    change: Entry
    """Loss above the dense model's, with its paired interval over windows."""
    parameters: int
    bytes: int
    preferred: float | None
    """Share of the questions of which the truth is preferred; None if none were asked."""
    preferred_change: Entry | None
    """The same minus the dense model's share, with its paired interval over questions."""
    knee: bool


class SweepTokens(TypedDict):
    """Tokens of text behind the figures."""

    scored: int
    repaired: int
    held_out: int


class SweepRecord(TypedDict):
    """A whole sweep."""

    layers: int
    dense: MeasuredLoss
    parameters: int
    bytes: int
    tokens: SweepTokens
    scores: dict[str, list[float]]
    points: list[SweepPoint]
    left_out: str
    """Why nothing was repaired; empty if it was."""
