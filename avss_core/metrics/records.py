"""The types of figures as JSON holds them: entries with intervals, figures of answers, changes, retention.

Losses are in nats a token, shares from 0 to 1; None stands for a figure without a value.
"""

from typing import NotRequired, TypedDict


class Entry(TypedDict):
    """A figure with its 95 % interval."""

    value: float | None
    low: float | None
    high: float | None


class CountedEntry(Entry):
    """A mean of the rows that have a value."""

    n: int


class BinEntry(TypedDict):
    """A bin of the reliability diagram: answers with a confidence from `lower` to `upper`."""

    lower: float
    upper: float
    count: int
    confidence: float | None
    accuracy: float | None


class CurvePoint(TypedDict):
    """A point of the accuracy-coverage curve."""

    coverage: float
    accuracy: float


class FigureEntries(TypedDict):
    """An entry for each of `avss_core.metrics.summary.FIGURES`."""

    accuracy: Entry
    accuracy_at_50: Entry
    coverage_at_50: Entry
    ece: Entry
    brier: Entry
    brier_skill: Entry
    auroc: Entry
    accuracy_at_50_litcab: Entry
    coverage_at_50_litcab: Entry
    ece_litcab: Entry


class AnswerFigures(FigureEntries):
    """The figures of a model's answers, as `avss_core.metrics.summary.summarise` returns them."""

    n: int
    small_n: bool
    reliability: list[BinEntry]
    curve: list[CurvePoint]


class Contrast(FigureEntries):
    """One model's figures minus the mean of others' on the same questions."""

    n: int


class Changes(Contrast):
    """One model's figures minus another's on the same questions."""

    retention: float | None
    """Accuracy after over accuracy before; None if nothing was right before."""


class KeptOfAnswers(TypedDict):
    """What a model keeps of another's accuracy on a question set."""

    n: int
    accuracy_before: float
    accuracy_after: float
    retention: Entry


class KeptOfLoss(TypedDict):
    """What a model keeps of another's loss of the accepted answers."""

    n: int
    """Questions whose answers were scored."""
    loss_before: float
    loss_after: float
    retention: Entry


class KeptOfSet(KeptOfAnswers):
    """What a model keeps on a question set; the last two are absent where no answer was scored."""

    gold_nll: NotRequired[KeptOfLoss]
    preference: NotRequired[KeptOfAnswers]
    """Of the questions with wrong answers; right is a preference for an accepted one."""


class KeptOfReviews(KeptOfAnswers):
    """What a model keeps of another's accuracy on reviews."""

    chance: float
    retention_over_chance: Entry


class Generation(TypedDict):
    """Retention of answers, by set and as means over the sets that a share says something of.

    The last two are absent where no answer was scored.
    """

    sets: dict[str, KeptOfSet]
    mean: Entry
    gold_nll: NotRequired[Entry]
    preference: NotRequired[Entry]


class Classification(TypedDict):
    """Retention of classification."""

    sentiment: KeptOfReviews


class KeptOfText(TypedDict):
    """What a model keeps of another's loss on text."""

    windows: int
    nll_retention: Entry
    perplexity_ratio: Entry


class Retention(TypedDict):
    """What one model keeps of another's figures, as `retention.retention_table` returns it."""

    generation: Generation
    classification: Classification
    language_modelling: KeptOfText


Agreement = dict[str, dict[str, float | None]]
"""Kendall's tau between named orders of the layers, with `depth` among them."""


class Abstaining(TypedDict):
    """What a threshold leaves of the answers."""

    answered: Entry
    """Share of the questions whose answer is as confident as the threshold."""
    error: Entry
    """Share of those answers that is wrong; no value where none is left."""
