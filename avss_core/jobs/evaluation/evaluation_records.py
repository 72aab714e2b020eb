"""The figures of one model, as JSON holds them.

Losses are in nats a token, shares from 0 to 1; None stands for a figure without a value.
"""

from typing import TypedDict

from avss_core.metrics.records import Abstaining, AnswerFigures, CountedEntry, Entry


class SetFigures(AnswerFigures):
    """The figures of a model on one question set."""

    exact_match: Entry
    containment: Entry
    gold_nll: CountedEntry
    preference_accuracy: CountedEntry
    answered: float | None
    """Share of questions with an answer that is not empty."""
    judge: str
    shots: int
    dropped_demonstrations: int


class TextLoss(TypedDict):
    """The loss of a model on text."""

    nll: float
    tokens: int
    window: int
    stride: int
    window_means: list[float]
    token_perplexity: float
    word_perplexity: float
    byte_perplexity: float


class TextFigures(TextLoss):
    """The same with the interval of the loss over windows."""

    window_mean: Entry


class SentimentFigures(TypedDict):
    """The figures of a model on reviews."""

    n: int
    accuracy: Entry
    auroc: Entry
    """How often a positive review has a higher probability of being positive than a negative one."""
    ece: Entry
    brier: Entry
    predicted_positive: float | None


class Abstention(Abstaining):
    """What a threshold that was chosen on validation questions leaves of a set's test answers."""

    risk: float
    """Share of the validation answers above the threshold that may be wrong."""
    threshold: float | None
    """None if the most confident ones are wrong more often."""
    validation: int
    """Questions that it was chosen on."""
    n: int
    judge: str


class ModelFigures(TypedDict):
    """All figures of one model."""

    sets: dict[str, SetFigures]
    language_modelling: TextFigures
    sentiment: SentimentFigures


class EncoderFigures(TypedDict):
    """All figures of one encoder."""

    head: str
    """What classifies the reviews, in words."""
    sentiment: SentimentFigures
    language_modelling: TextFigures | None
    """Of hidden words; None where there is no head over the vocabulary."""


class LayerFigures(TypedDict):
    """Figures of the answers read out at layers: by set and figure, one entry a layer."""

    layers: list[int]
    n: dict[str, int]
    judges: dict[str, str]
    sets: dict[str, dict[str, list[Entry]]]
