"""The type of every JSON record that a stage writes: what `scores.json` and its neighbours hold.

A writer returns one of these, a reader takes one, and mypy compares them. A key that is not declared here is
not read. Losses are in nats a token, sizes in bytes, shares from 0 to 1; layers are numbered from 0 as in the
dense model unless a field says otherwise. None stands for a figure without a value.
"""

from typing import Any, NotRequired, TypedDict

from avss_core.data.data_records import Manifest as Manifest
from avss_core.data.data_records import ModelCard as ModelCard
from avss_core.data.data_records import SplitCounts as SplitCounts
from avss_core.evaluation.speed_records import CheckpointSize as CheckpointSize
from avss_core.evaluation.speed_records import ModelSpeed as ModelSpeed
from avss_core.evaluation.speed_records import SpeedRatio as SpeedRatio
from avss_core.evaluation.speed_records import SpeedRatios as SpeedRatios
from avss_core.jobs.evaluation.evaluation_records import Abstention as Abstention
from avss_core.jobs.evaluation.evaluation_records import EncoderFigures as EncoderFigures
from avss_core.jobs.evaluation.evaluation_records import LayerFigures as LayerFigures
from avss_core.jobs.evaluation.evaluation_records import ModelFigures as ModelFigures
from avss_core.jobs.evaluation.evaluation_records import SentimentFigures as SentimentFigures
from avss_core.jobs.evaluation.evaluation_records import SetFigures as SetFigures
from avss_core.jobs.evaluation.evaluation_records import TextFigures as TextFigures
from avss_core.jobs.evaluation.evaluation_records import TextLoss as TextLoss
from avss_core.jobs.job_records import AnswerCounts as AnswerCounts
from avss_core.jobs.job_records import Band as Band
from avss_core.jobs.job_records import Bands as Bands
from avss_core.jobs.job_records import Cost as Cost
from avss_core.jobs.job_records import HealingTraining as HealingTraining
from avss_core.jobs.job_records import LayerChoice as LayerChoice
from avss_core.jobs.job_records import Localization as Localization
from avss_core.jobs.job_records import LocalizedLayer as LocalizedLayer
from avss_core.jobs.job_records import LocalizedModel as LocalizedModel
from avss_core.jobs.job_records import MitigationTraining as MitigationTraining
from avss_core.jobs.job_records import PrunedModel as PrunedModel
from avss_core.jobs.job_records import RefitProjection as RefitProjection
from avss_core.jobs.job_records import RemovalLoss as RemovalLoss
from avss_core.jobs.job_records import RepairFit as RepairFit
from avss_core.jobs.job_records import ScoredLayer as ScoredLayer
from avss_core.jobs.job_records import ScoredModel as ScoredModel
from avss_core.jobs.job_records import SpeedRecord as SpeedRecord
from avss_core.jobs.job_records import TrainingRecord as TrainingRecord
from avss_core.jobs.job_records import VerifiedModel as VerifiedModel
from avss_core.jobs.standard_tasks.task_records import ModelOnTasks as ModelOnTasks
from avss_core.metrics.records import Agreement as Agreement
from avss_core.metrics.records import AnswerFigures as AnswerFigures
from avss_core.metrics.records import Changes as Changes
from avss_core.metrics.records import Contrast as Contrast
from avss_core.metrics.records import CountedEntry as CountedEntry
from avss_core.metrics.records import Entry as Entry
from avss_core.metrics.records import Retention as Retention
from avss_core.scores.score_records import ChoiceStability as ChoiceStability
from avss_core.scores.score_records import ScoredLayers as ScoredLayers
from avss_core.statistics.layer_records import StatisticsPart as StatisticsPart
from avss_core.statistics.layer_records import TextStatistics as TextStatistics
from avss_core.surgery.certificate_records import Certificate as Certificate
from avss_core.surgery.certificate_records import CheckRecord as CheckRecord
from avss_core.surgery.certificate_records import Provenance as Provenance
from avss_core.training.history import WindowCounts as WindowCounts

# collect: data/statistics.json, one `TextStatistics` a text by name, and data/activations/answers.json, one
# `AnswerCounts` a set.

# score: data/scores.json.


class ComparedCost(Cost):
    """The same with its interval, and how far it lies above that of the choice that prunes."""

    interval: Entry
    over_chosen: Entry


class Reading(ScoredLayers):
    """A reading with what its choice costs."""

    cost: ComparedCost
    repaired: NotRequired[ComparedCost]
    """The same after a small repair in closed form; absent if that was left out."""


class AfterRepair(TypedDict):
    """How the costs of the choices compare before and after the repair."""

    tokens: int
    """Tokens that were fitted to."""
    left_out: str
    """Why there are no costs after a repair; empty if there are."""
    choices: int
    """Choices of layers that differ; 0 if left out."""
    tau: float | None
    """Kendall's tau of their losses before and after, None if one side is constant."""
    cheapest_before: list[str]
    """Readings with the lowest loss: several where they choose the same layers."""
    cheapest_after: list[str]


class Scores(TypedDict):
    """Every reading of the layers, what each choice costs, and how sure it is."""

    readings: dict[str, Reading]
    agreement: Agreement
    dense: ComparedCost
    after_repair: NotRequired[AfterRepair]
    """Absent if `score.repair_tokens` is 0."""
    stability: dict[str, ChoiceStability]
    thin: NotRequired[dict[str, int]]
    """Readings on text in too few parts to tell how sure they are, with their number; not in old records."""
    chosen: str
    removed: list[int]


# prune, repair, heal, mitigate: a `Certificate` in certificate.json beside each checkpoint.

# repair: data/repair.json.


class Repair(TypedDict):
    """What repair did; `fit` is absent where it is switched off."""

    enabled: bool
    fit: NotRequired[RepairFit]


# speed: data/sizes.json and data/speed.json.


class Size(CheckpointSize):
    """The size of a model."""

    cache_bytes_per_token: NotRequired[float | None]


Sizes = dict[str, Size]


# evaluate: data/evaluation/figures.json.


class RepairedFigures(TypedDict):
    """The repaired model, beside the dense and the pruned one."""

    figures: ModelFigures
    against_dense: dict[str, Changes]
    against_pruned: dict[str, Changes]
    retention: Retention


class Evaluation(TypedDict):
    """What pruning cost, and what repair brought back; `repaired` is absent where that is switched off."""

    dense: ModelFigures
    pruned: ModelFigures
    pruned_against_dense: dict[str, Changes]
    retention: Retention
    """What the pruned model keeps of the dense one."""
    repaired: NotRequired[RepairedFigures]
    layers: LayerFigures | None
    tasks: NotRequired[dict[str, ModelOnTasks]]
    """Standard tasks by model, the dense one first; absent if the settings name none."""


# heal: data/healing/figures.json; mitigate: data/mitigation/figures.json.


class BothRetentions(TypedDict):
    """What is kept of the dense model before and after healing."""

    before: Retention
    after: Retention


class Healing(TypedDict):
    """What healing brought back; the other fields are absent where it is switched off."""

    enabled: bool
    base: NotRequired[str]
    """The model that was trained: repaired, or pruned where repair is switched off."""
    training: NotRequired[HealingTraining]
    healed: NotRequired[ModelFigures]
    retention: NotRequired[BothRetentions]
    healed_against_base: NotRequired[dict[str, Changes]]
    tasks: NotRequired[ModelOnTasks]
    """Standard tasks; absent if the settings name none."""


class Divergence(Entry):
    """Mean KL divergence from the base."""

    tokens: int


class Control(TypedDict):
    """A control of the mitigation."""

    training: MitigationTraining
    figures: ModelFigures
    against_base: dict[str, Changes]
    divergence: Divergence


class TrainingAgreement(TypedDict):
    """Kendall's tau of each EAVSS reading with what training a choice of layers gained."""

    trainings: list[str]
    tau: dict[str, float | None]


class Mitigation(TypedDict):
    """What training the prone layers changed, beside its controls."""

    base: str
    training: MitigationTraining
    mitigated: ModelFigures
    mitigated_against_base: dict[str, Changes]
    retention: NotRequired[Retention]
    """What the trained model keeps of the dense one; not in old records."""
    divergence: Divergence
    controls: dict[str, Control]
    against_controls: dict[str, dict[str, Contrast]]
    localization_against_training: TrainingAgreement
    abstention: NotRequired[dict[str, dict[str, Abstention]]]
    """By model, before and after the training, and set; absent unless the settings ask for it."""


# localize: `Localization` in data/localization.json.

# gate: data/gates.json.


class Gates(TypedDict):
    """Whether a run kept enough, by variant."""

    min_retention: float | None
    fallen: dict[str, list[str]]
    without: dict[str, list[str]]


# report: what the page and the comparison of runs are made of.


class RunRecords(TypedDict):
    """The records of a run that its verdicts follow from."""

    manifest: Manifest
    card: ModelCard
    scores: Scores
    pruned: Certificate
    repair: Repair
    evaluation: Evaluation
    healing: Healing
    localization: Localization
    mitigation: Mitigation


class ComparedRecords(RunRecords):
    """The records that two runs are compared by."""

    sizes: Sizes
    parameters: dict[str, Any]
    """Every parameter by its dotted name: text, numbers, lists, None."""
