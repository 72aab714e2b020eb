"""Healing: a pruned model learns the dense one's distributions back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from avss_core.files.tensor_store import TensorStore
from avss_core.models.activations import Visitor
from avss_core.models.architectures import depth
from avss_core.progress import Progress, no_progress
from avss_core.training.distillation import TopLogits, hidden_distance, kl_divergence, top_kl_divergence
from avss_core.training.frozen_prefix import FrozenPrefix, Ids
from avss_core.training.objectives import Epoch, Settings, Step, Training
from avss_core.training.teacher import Teacher
from avss_core.training.training import train


@dataclass(frozen=True, kw_only=True)
class HealingSettings(Settings):
    """The loss is KL(teacher || student) of the next token + hidden * distance of the layers' outputs."""

    temperature: float = 1.0
    hidden: float = 0.0
    """Weight of the hidden states' distance; 0 does not compute it."""
    top_k: int | None = None
    """Words a token whose teacher chances are computed once and kept; None asks the teacher at each step."""
    slice_tokens: int = 512
    """Tokens whose logits, over the whole vocabulary, are in memory at a time."""


@dataclass(frozen=True)
class Window:
    """Consecutive tokens of a text, or a question with its answer."""

    ids: Ids

    @property
    def sequences(self) -> tuple[Ids, ...]:
        """The one sequence."""
        return (self.ids,)

    @property
    def weight(self) -> int:
        """Its tokens: the next one is predicted at each."""
        return len(self.ids)


class Distillation:
    """The objective over windows of tokens."""

    def __init__(
        self,
        teacher: PreTrainedModel,
        train: Sequence[Ids],
        validation: Sequence[Ids],
        layer_map: Sequence[int],
        settings: HealingSettings,
    ) -> None:
        """Take windows of token ids; empty ones are left out and counted.

        Args:
            teacher: the dense model; stays as it is and is asked in evaluation mode.
            train: windows to learn from.
            validation: windows of other text.
            layer_map: layer of the teacher that each layer of the student was.
            settings: the weights.

        Raises:
            ValueError: the map names a layer that the teacher lacks.
        """
        strange = sorted(set(layer_map) - set(range(depth(teacher.config))))
        if strange:
            raise ValueError(f"layers {strange} of the map are not in a teacher of {depth(teacher.config)}")
        self.teacher, self.layer_map, self.settings = Teacher(teacher), list(layer_map), settings
        self.train = [Window(tuple(ids)) for ids in train if ids]
        self.validation = [Window(tuple(ids)) for ids in validation if ids]
        empty = len(train) + len(validation) - len(self.train) - len(self.validation)
        self.skipped: Mapping[str, int] = {"empty window": empty}
        self.weights: Mapping[str, float] = {"kl": 1.0, "hidden": settings.hidden}

    @property
    def identity(self) -> Any:
        """The teacher and the map."""
        return [self.teacher.digest(), self.layer_map]

    def prepare(self, sequences: Sequence[Ids], batch_size: int, store: TensorStore) -> None:
        """Keep the teacher's likeliest words at each token, where `top_k` asks for it."""
        self.teacher.forget()
        if self.settings.top_k is not None:
            self.teacher.remember(
                sequences,
                store,
                top_k=self.settings.top_k,
                temperature=self.settings.temperature,
                batch_size=batch_size,
                slice_tokens=self.settings.slice_tokens,
            )

    def terms(self, model: FrozenPrefix, examples: Sequence[Window], *, judging: bool) -> dict[str, Tensor]:
        """Return the divergence, and the distance of hidden states where it has a weight."""
        sequences = [window.ids for window in examples]
        own: dict[int, Tensor] = {}
        taught: dict[int, Tensor] = {}
        look = bool(self.settings.hidden)
        batch, last = model(sequences, _keeper(own) if look else None)
        real = batch.attention.to(last.device)
        goal: tuple[Tensor, ...] = ()
        if self.teacher.remembers:
            top = self.teacher.recall(sequences, last.device)
            goal = (top.chances, top.words)
        if look or not goal:
            _, hidden = self.teacher.ask(sequences, _keeper(taught) if look else None)
            goal = goal or (hidden.to(last.device)[real],)
        found = {"kl": self._divergence(model, last[real], *goal)}
        if look:
            goals = {layer: taught[self.layer_map[layer]].to(last.device) for layer in own}
            distances = [hidden_distance(goals[layer][real], output[real]) for layer, output in own.items()]
            found["hidden"] = torch.stack(distances).mean()
        return found

    def _divergence(self, model: FrozenPrefix, student: Tensor, *goal: Tensor) -> Float[Tensor, ""]:
        """Return the mean divergence; logits are made a slice at a time, and again for the gradient."""
        size = self.settings.slice_tokens
        if len(student) <= size:
            return self._slice(model, student, *goal).mean()
        pieces = zip(*(torch.split(part, size) for part in (student, *goal)), strict=True)
        parts = [
            checkpoint(self._slice, model, *piece, use_reentrant=False, preserve_rng_state=False)
            for piece in pieces
        ]
        return torch.cat(parts).mean()

    def _slice(self, model: FrozenPrefix, student: Tensor, *goal: Tensor) -> Float[Tensor, " tokens"]:
        """Return the divergence at some tokens from the teacher's hidden states or likeliest words."""
        logits = model.logits(student)
        if self.teacher.remembers:
            return top_kl_divergence(TopLogits(*goal), logits, self.settings.temperature)
        wanted = self.teacher.logits(goal[0].to(self.teacher.model.device)).to(logits.device)
        return kl_divergence(wanted, logits, self.settings.temperature)


def distillation(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    train_windows: Sequence[Ids],
    validation_windows: Sequence[Ids],
    settings: HealingSettings,
    layer_map: Sequence[int],
) -> Distillation:
    """Return the objective by which a pruned model learns from the dense one; arguments as of `distil`.

    Raises:
        ValueError: as `Distillation`, or the two models do not share a vocabulary.
    """
    sizes = [int(model.config.vocab_size) for model in (student, teacher)]
    if sizes[0] != sizes[1] or len(layer_map) != depth(student.config):
        raise ValueError(
            f"a student of {sizes[0]} words and {depth(student.config)} layers cannot learn from a teacher "
            f"of {sizes[1]} words by a map of {len(layer_map)} layers"
        )
    return Distillation(teacher, train_windows, validation_windows, layer_map, settings)


def distil(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    train_windows: Sequence[Ids],
    validation_windows: Sequence[Ids],
    settings: HealingSettings,
    *,
    layer_map: Sequence[int],
    layers: Sequence[int] | None = None,
    folder: Path | None = None,
    on_step: Callable[[Step], None] = lambda _step: None,
    on_epoch: Callable[[Epoch], None] = lambda _epoch: None,
    progress: Progress = no_progress,
) -> tuple[PreTrainedModel, Training]:
    """Return `train` of a pruned model towards the dense one; see there.

    Args:
        student: the pruned model; stays as it was.
        teacher: the dense model; stays as it is.
        train_windows: token ids of text, and of questions with their answers.
        validation_windows: token ids of other text.
        settings: sizes, rates and weights.
        layer_map: layer of the teacher that each layer of the student was.
        layers: of the student, to train; None for all.
        folder: as `train`.
        on_step: as `train`.
        on_epoch: as `train`.
        progress: as `train`.

    Raises:
        ValueError: as `train` and `distillation`.
    """
    objective = distillation(student, teacher, train_windows, validation_windows, settings, layer_map)
    return train(
        student,
        objective,
        range(depth(student.config)) if layers is None else layers,
        settings,
        folder=folder,
        on_step=on_step,
        on_epoch=on_epoch,
        progress=progress,
    )


def _keeper(kept: dict[int, Tensor]) -> Visitor:
    """Return a visitor that keeps each block's output."""
    return lambda index, seen: kept.update({index: seen["output"]})
