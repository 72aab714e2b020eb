"""What is known of prepared data and of a model that was written as a plain checkpoint."""

from typing import TypedDict


class SplitCounts(TypedDict):
    """Rows of a question set by part, and how many were dropped."""

    train: int
    validation: int
    calibration: int
    test: int
    duplicates: int
    shared_with_test: int
    wordless: int
    """Rows without an accepted answer that has a word or a number."""
    accepted_as_wrong: int
    """Wrong answers that were accepted ones too; their rows stay."""


class Manifest(TypedDict):
    """What was prepared."""

    origin: dict[str, str]
    """Source of `questions`, `sentiment` and `text`: sample, path or hub."""
    sets: dict[str, SplitCounts]
    sentiment: dict[str, int]
    digest: str


class ModelCard(TypedDict):
    """What is known of the dense model."""

    name: str
    revision: str | None
    type: str
    layers: int
    dtype: str
    parameters: int
    bytes: int
    weights: str
    """Digest of the weight files."""
    beginning_token: bool
    """Whether the tokenizer puts a token before each text."""
