"""The types of a comparison of two runs, A and B, which `avss report --compare --json` prints.

A list of two holds the value of A, then that of B; a change is B minus A. What a run lacks is None.
"""

from typing import Any, TypedDict

from avss_core.metrics.records import Entry


class Compared(TypedDict):
    """A figure of both runs."""

    a: Entry
    b: Entry
    change: Entry
    """With an interval only if it is paired."""
    paired: int | None
    """Shared questions, reviews or windows that the change is of; None if two intervals are compared."""
    tone: str
    """A key of `verdicts.MARKS`: what may be said of the change."""


class SharedLayers(TypedDict):
    """What two choices of layers share."""

    shared: list[int]
    only_first: list[int]
    only_second: list[int]
    jaccard: float | None


class Choice(SharedLayers):
    """The layers that the pruned models lost."""

    score: list[str]
    layers: list[int]
    """How many the dense models have."""
    removed: list[list[int]]


class ComparedScore(SharedLayers):
    """What one score removes, and what that costs."""

    scores: list[list[float]]
    removed: list[list[int]]
    tau: float | None
    cost: Compared
    same_choice: list[float | None]


class Readings(TypedDict):
    """The scores that both runs know."""

    reasons: list[str]
    """Why their costs cannot be compared."""
    dense: Compared
    chosen: Compared | None
    """Cost of each run's own choice."""
    scores: dict[str, ComparedScore]


class ComparedSet(TypedDict):
    """The figures of a question set."""

    n: list[int]
    judge: list[str]
    shared: int | None
    """Questions that both runs asked, if the figures are paired."""
    reasons: list[str]
    figures: dict[str, Compared]


class ComparedText(TypedDict):
    """The loss on test text."""

    reasons: list[str]
    nll: Compared
    token_perplexity: list[float]
    word_perplexity: list[float]


class ComparedSentiment(TypedDict):
    """The accuracy on reviews."""

    n: list[int]
    reasons: list[str]
    accuracy: Compared


class ComparedModel(TypedDict):
    """The figures of one model."""

    sets: dict[str, ComparedSet]
    text: ComparedText
    sentiment: ComparedSentiment


class ComparedEavss(SharedLayers):
    """The most prone layers."""

    reading: list[str]
    pairs: list[int]
    questions: list[int]
    most_prone: list[list[int]]
    values: dict[str, list[list[float]]]
    tau: dict[str, float | None]


class ComparedMitigation(SharedLayers):
    """What was trained on what."""

    base: list[str]
    rank: list[int]
    parameters: list[int]
    train_pairs: list[int]
    best_loss: list[float]
    controls: list[list[str]]
    layers: list[list[int]]
    divergence: Compared


class Comparison(TypedDict):
    """Two runs side by side."""

    runs: dict[str, dict[str, str]]
    """Name and kind of `a` and `b`."""
    differs: dict[str, dict[str, list[Any]]]
    """By kind (model, data, versions, parameters): each name with different values, and both of them."""
    unrecorded: list[str]
    """Kinds that one of the runs did not record."""
    only: dict[str, dict[str, list[str]]]
    """Models, sets and scores that only `a` or only `b` has."""
    choice: Choice
    readings: Readings
    models: dict[str, ComparedModel]
    retention: dict[str, dict[str, Compared]]
    eavss: ComparedEavss
    mitigation: ComparedMitigation
    sizes: dict[str, dict[str, list[float | None]]]
