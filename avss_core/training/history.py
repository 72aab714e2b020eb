"""What happened in a training: its steps, its validations, and which validation was the best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TypedDict, cast


@dataclass(frozen=True)
class Step:
    """One step of the optimizer."""

    step: int
    """Counted from 1 over all epochs."""
    epoch: int
    samples: int
    weight: float
    tokens: int
    learning_rate: float
    gradient_norm: float
    loss: float
    terms: dict[str, float]


@dataclass(frozen=True)
class Epoch:
    """A validation, and the mean losses since the one before."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_preference: float | None = None
    """Share of validation pairs whose accepted answer is the more likely one."""
    step: int = 0
    train_terms: dict[str, float] = field(default_factory=dict)
    validation_terms: dict[str, float] = field(default_factory=dict)


class StepRecord(TypedDict):
    """A `Step` as JSON values."""

    step: int
    epoch: int
    samples: int
    weight: float
    tokens: int
    learning_rate: float
    gradient_norm: float
    loss: float
    terms: dict[str, float]


class EpochRecord(TypedDict):
    """An `Epoch` as JSON values."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_preference: float | None
    step: int
    train_terms: dict[str, float]
    validation_terms: dict[str, float]


class WindowCounts(TypedDict):
    """Windows of one kind that healing learns from, or validates on."""

    windows: int
    tokens: int
    wanted: int
    """Tokens that were asked for."""
    too_long: int
    """Rows that are longer than a window."""


class TrainingCourse(TypedDict):
    """What of a `Training` follows from data, parameters and seed: all but its times and memory."""

    history: list[EpochRecord]
    steps: list[StepRecord]
    parameters: int
    tokens: int
    skipped: dict[str, int]


@dataclass(frozen=True)
class Training:
    """The course of a whole training."""

    epochs: tuple[Epoch, ...]
    steps: tuple[Step, ...]
    parameters: int
    """Numbers that were trained."""
    tokens: int
    """Tokens of the train sequences that ran, without padding."""
    seconds: float
    """Time of steps and validations, those of resumed runs included."""
    peak_bytes: int | None
    """Most memory in use beyond that before the training."""
    skipped: dict[str, int]

    @property
    def tokens_per_second(self) -> float:
        """Train tokens a second."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def best(self) -> Epoch | None:
        """The validation whose adapters are kept; None without a validation."""
        losses = [epoch.validation_loss for epoch in self.epochs]
        return self.epochs[best_place(losses)] if losses else None

    @property
    def record(self) -> TrainingCourse:
        """The training as JSON values."""
        return {
            "history": [cast(EpochRecord, asdict(epoch)) for epoch in self.epochs],
            "steps": [cast(StepRecord, asdict(step)) for step in self.steps],
            "parameters": self.parameters,
            "tokens": self.tokens,
            "skipped": self.skipped,
        }


def best_place(validation_losses: Sequence[float]) -> int:
    """Return the index of the lowest loss, the first of equal ones: there the adapters are kept."""
    return min(range(len(validation_losses)), key=validation_losses.__getitem__)


def best_epoch(history: Sequence[EpochRecord]) -> EpochRecord:
    """Return the validation whose adapters are kept."""
    return history[best_place([epoch["validation_loss"] for epoch in history])]


def mean_terms(batches: Sequence[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """Return the weighted mean of each term over (weight, terms) of batches that all have the same terms."""
    total = sum(weight for weight, _ in batches)
    names = batches[0][1] if batches else ()
    return {name: math.fsum(weight * terms[name] for weight, terms in batches) / total for name in names}
