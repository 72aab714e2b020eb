"""What a training has to know of its objective, and the settings and records of a training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from avss_core.files.tensor_store import TensorStore
from avss_core.training.frozen_prefix import FrozenPrefix, Ids


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train, whatever the objective."""

    epochs: int
    learning_rate: float
    batch_size: int
    """Examples that go through the model at a time."""
    rank: int
    patience: int
    """Validations without a lower loss before training stops."""
    seed: int
    accumulate: int = 1
    """Batches a step."""
    warm_up: float = 0.05
    """Share of the steps in which the learning rate rises from near 0."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls to 0 afterwards, if it does."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    autocast: bool = False
    """Compute in bfloat16 where the operation allows it; the weights keep their dtype."""
    validate_every: int | None = None
    """Steps between validations; None for the ends of epochs alone."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None for the validations alone."""
    frozen_prefix: bool = True
    """Run the blocks below the first trained one once for each sequence."""
    cache_bytes: int = 2**30
    """What may be kept in memory; the rest goes to disk."""


@runtime_checkable
class Example(Protocol):
    """What is learnt from at a time."""

    @property
    def sequences(self) -> tuple[Ids, ...]:
        """The token ids that go through the model."""

    @property
    def weight(self) -> int:
        """Of what the losses are means: 1 for a pair, the tokens of a window."""


@runtime_checkable
class Objective(Protocol):
    """Examples and the terms of the loss."""

    @property
    def train(self) -> Sequence[Any]:
        """Each an `Example`."""

    @property
    def validation(self) -> Sequence[Any]:
        """Each an `Example`, by whose loss the adapters are chosen."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Of the terms in the loss; terms without a weight are figures only."""

    @property
    def skipped(self) -> Mapping[str, int]:
        """Examples left out, by reason."""

    @property
    def identity(self) -> Any:
        """A JSON value of what else must be the same for a stopped training to go on."""

    def prepare(self, sequences: Sequence[Ids], batch_size: int, store: TensorStore) -> None:
        """Compute and store what the terms need of a model that is not trained."""

    def terms(self, model: FrozenPrefix, examples: Sequence[Any], *, judging: bool) -> dict[str, Tensor]:
        """Return the terms of a batch, each a mean over the weights of its examples.

        Args:
            model: the one in training.
            examples: of `train` or `validation`.
            judging: add figures that only a validation needs.
        """


@dataclass(frozen=True)
class Step:
    """One step of the optimizer."""

    step: int
    """Counted from 1 over all epochs."""
    epoch: int
    samples: int
    weight: int
    tokens: int
    learning_rate: float
    gradient_norm: float
    loss: float
    terms: dict[str, float]


@dataclass(frozen=True)
class Epoch:
    """Mean losses since the validation before this one; the model with the lowest validation loss is kept."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_preference: float | None = None
    """Share of validation pairs whose accepted answer is the more likely one."""
    step: int = 0
    train_terms: dict[str, float] = field(default_factory=dict)
    validation_terms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """What a training was."""

    epochs: tuple[Epoch, ...]
    steps: tuple[Step, ...]
    parameters: int
    """Numbers that were trained."""
    tokens: int
    """Tokens of the train sequences that ran, padding left out."""
    seconds: float
    """Of the steps and validations, those of resumed runs included."""
    peak_bytes: int | None
    """Most memory in use beyond that before the training."""
    skipped: dict[str, int]

    @property
    def tokens_per_second(self) -> float:
        """Train tokens a second."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def best(self) -> Epoch | None:
        """The validation whose adapters are kept; None where there was none."""
        return min(self.epochs, key=lambda epoch: epoch.validation_loss, default=None)


def share_of_rate(settings: Settings, step: int, steps: int) -> float:
    """Return the share of the learning rate at a step, from 0: a linear warm-up, then the schedule."""
    warm = max(1, int(steps * settings.warm_up))
    done = min(1.0, step / max(1, steps))
    falling = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
    return min((step + 1) / warm, falling[settings.schedule])


def mean_terms(found: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, float]:
    """Return the weighted mean of each term over (weight, terms) of batches that all have the same terms."""
    total = sum(weight for weight, _ in found)
    names = found[0][1] if found else ()
    return {name: math.fsum(weight * terms[name] for weight, terms in found) / total for name in names}


def history_records(history: Sequence[Epoch]) -> list[dict[str, Any]]:
    """Return the history as JSON values."""
    return [asdict(epoch) for epoch in history]
