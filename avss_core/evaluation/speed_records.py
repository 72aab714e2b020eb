"""The types of sizes and times as JSON holds them."""

from typing import TypedDict


class CheckpointSize(TypedDict):
    """The size of a checkpoint."""

    layers: int
    parameters: int
    """A tied parameter counts once."""
    bytes: int
    """Bytes of the weight files."""


class SpeedRatio(TypedDict):
    """Geometric mean of the rounds' ratios, and the lowest and the highest of them."""

    value: float
    low: float
    high: float


class SpeedRatios(TypedDict):
    """How many times as fast as the base."""

    prefill: SpeedRatio
    decode: dict[str, SpeedRatio]


class ModelSpeed(TypedDict):
    """Tokens a second of one model, decoding by batch size, and its memory."""

    prefill: float
    decode: dict[str, float]
    peak_bytes: int | None
    cache_bytes: int
