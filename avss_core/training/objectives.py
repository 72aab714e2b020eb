"""How to train, and what a training has to know of its objective."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from avss_core.files.tensor_store import TensorStore
from avss_core.models.room import BatchSize
from avss_core.training.frozen_prefix import FrozenPrefix, Ids


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train, whatever the objective."""

    epochs: int
    learning_rate: float
    batch_size: BatchSize
    """Examples that go through the model at a time; `auto`: `accumulate` are a step, and memory decides."""
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
    """Steps between validations; None validates at the ends of epochs only."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None writes one at each validation only."""
    frozen_prefix: bool = True
    """Run the blocks below the first trained one once for each sequence."""
    cache_bytes: int = 2**30
    """Most bytes kept in memory; the rest goes to disk."""


@runtime_checkable
class Example(Protocol):
    """The smallest unit that is drawn and batched."""

    @property
    def sequences(self) -> tuple[Ids, ...]:
        """The token ids that go through the model."""

    @property
    def weight(self) -> float:
        """Weight in the mean loss: 1 for a pair, the weights of a window's tokens."""


@runtime_checkable
class Objective(Protocol):
    """Examples and the terms of the loss."""

    @property
    def train(self) -> Sequence[Any]:
        """The examples to learn from."""

    @property
    def validation(self) -> Sequence[Any]:
        """The examples by whose loss the adapters are chosen."""

    @property
    def weights(self) -> Mapping[str, float]:
        """Weight of each term in the loss; a term without a weight is only reported."""

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many examples were left out, by reason."""

    @property
    def identity(self) -> Any:
        """A JSON value of what else must be the same for a stopped training to go on."""

    def prepare(self, sequences: Sequence[Ids], batch_size: int, store: TensorStore) -> None:
        """Compute and store what the terms need of a model that is not trained."""

    def terms(self, model: FrozenPrefix, examples: Sequence[Any], *, judging: bool) -> dict[str, Tensor]:
        """Return the terms of a batch, each a mean over the weights of its examples.

        Args:
            model: the model in training.
            examples: members of `train` or `validation`.
            judging: add the terms that only a validation reports.
        """


def weighted_loss(weights: Mapping[str, float], terms: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of the terms of a loss that have a weight, each times it."""
    return torch.stack([weight * terms[name] for name, weight in weights.items() if weight]).sum()


def share_of_rate(settings: Settings, step: int, steps: int) -> float:
    """Return the share of the learning rate at a step, from 0: a linear warm-up, then the schedule."""
    warm = max(1, int(steps * settings.warm_up))
    done = min(1.0, step / max(1, steps))
    falling = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
    return min((step + 1) / warm, falling[settings.schedule])
