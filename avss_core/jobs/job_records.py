"""What the jobs on a model return, and what commands print of them with --json.

Losses are in nats a token, sizes in bytes, shares from 0 to 1; layers are numbered from 0 as in the dense
model unless a field says otherwise. None stands for a figure without a value.
"""

from typing import NotRequired, TypedDict

from avss_core.evaluation.speed_records import ModelSpeed, SpeedRatios
from avss_core.metrics.records import Agreement
from avss_core.scores.score_records import ChoiceStability, ScoredLayers
from avss_core.surgery.certificate_records import CheckRecord
from avss_core.training.history import TrainingCourse, WindowCounts


class Cost(TypedDict):
    """Loss on held-out calibration text after some layers are removed."""

    nll: float
    tokens: int
    window_means: list[float]


class RemovalLoss(TypedDict):
    """Loss without one layer."""

    layer: int
    nll: float
    window_means: list[float]


class SpeedWorkload(TypedDict):
    """What was timed."""

    prompt_tokens: int
    new_tokens: int
    batch_sizes: list[int]
    rounds: int
    dtype: str
    device: str
    threads: int


class SpeedRecord(TypedDict):
    """Times of models in turn."""

    workload: SpeedWorkload
    models: dict[str, ModelSpeed]
    base: str
    ratios: dict[str, SpeedRatios]
    enabled: NotRequired[bool]
    checkpoint: NotRequired[str]


class RefitProjection(TypedDict):
    """What repair changed in one projection of one block."""

    layer: int
    """Numbered as in the pruned model."""
    dense_layer: int
    projection: str
    """Path of the projection inside the block."""
    ridge: float | None
    """The penalty chosen; None where nothing was missing."""
    error: float
    """Squared distance from the dense model on held-out windows after the refit, over that before it."""


class RepairFit(TypedDict):
    """What was refitted, and on how much of what."""

    windows: dict[str, WindowCounts]
    """Windows by kind."""
    text: str
    """Digest of the windows."""
    tokens: int
    projections: list[RefitProjection]


class TrainingRecord(TrainingCourse):
    """What every training was."""

    layers: list[int]
    """Numbered as in the model that was trained."""
    dense_layers: list[int]


class HealingTraining(TrainingRecord):
    """What healing learnt from, by kind."""

    train: dict[str, WindowCounts]
    validation: dict[str, WindowCounts]
    windows: str
    """Digest of the windows."""


class MitigationTraining(TrainingRecord):
    """What a training of prone layers, or a control, learnt from."""

    rank: int
    train_pairs: int
    validation_pairs: int
    known: float | None
    """Share of the train pairs that the model answers right itself; None if it was not asked."""
    train_rows: str
    validation_rows: str
    best_loss: float


class SuppliedCounts(TypedDict):
    """Supplied answers that were read."""

    questions: int


class GeneratedCounts(TypedDict):
    """The model's own answers that were read: questions by which kinds of answers they have."""

    questions: int
    both_kinds: int
    only_right: int
    only_wrong: int
    wordless: int
    judge: str
    shots: int


class AnswerCounts(TypedDict, total=False):
    """Answers of one set in the activation dump, by source."""

    supplied: SuppliedCounts
    generated: GeneratedCounts


class Band(TypedDict):
    """A reading of every layer with its interval."""

    values: list[float]
    low: list[float]
    high: list[float]


Bands = dict[str, Band]
"""Bands by the name of the reading."""


class Localization(TypedDict):
    """EAVSS of every layer with its outside check."""

    reading: str
    reference: str
    site: str
    answers: dict[str, AnswerCounts]
    questions: int
    pairs: int
    readings: Bands
    sets: dict[str, Bands]
    sources: dict[str, Bands]
    source_agreement: dict[str, float | None]
    probe_auroc: list[float | None]
    probe_questions: int
    agreement: Agreement
    most_prone: list[int]


class LayerChoice(TypedDict):
    """The scores of one reading, and how sure its choice is."""

    text: str
    """Source of the calibration text: sample, path or hub."""
    tokens: int
    reading: ScoredLayers
    stability: ChoiceStability | None
    """None if the score reads no text in parts, or too few."""
    thin: int | None
    """Parts of the text if they are too few to tell how sure the choice is."""


class ScoredLayer(TypedDict):
    """One row of `avss score`."""

    layer: int
    score: float
    normalised: float
    cumulative: float
    removed: bool
    frequency: float | None
    """Share of the resamples that remove the layer."""
    shot_noise: bool


class ScoredModel(TypedDict):
    """`avss score`."""

    model: str
    score: str
    reference: str
    prune_first: str
    ratio: float
    removed: list[int]
    text: str
    tokens: int
    same_choice: float | None
    undecided: list[int] | None
    warning: str | None
    """Why nobody can say how sure the choice is."""
    layers: list[ScoredLayer]


class PrunedModel(TypedDict):
    """`avss prune`."""

    model: str
    out: str
    removed: list[int]
    """Numbered as in the model that was pruned."""
    warning: str | None
    """Why nobody can say how sure the choice is."""
    layer_map: list[int]
    """The dense model's number of each layer that is left."""
    parameters: int
    dense_parameters: int
    bytes: int
    checks: list[CheckRecord]


class VerifiedModel(TypedDict):
    """`avss verify`."""

    folder: str
    passed: bool
    checks: list[CheckRecord]


class LocalizedLayer(TypedDict):
    """One row of `avss localize`."""

    layer: int
    score: float
    low: float
    high: float
    probe_auroc: float | None


class LocalizedModel(TypedDict):
    """`avss localize`."""

    model: str
    reading: str
    reference: str
    site: str
    answers: dict[str, AnswerCounts]
    questions: int
    pairs: int
    most_prone: list[int]
    source_agreement: dict[str, float | None]
    layers: list[LocalizedLayer]
