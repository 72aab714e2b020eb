"""Healing: a pruned model learns the dense model's next-token distributions back."""

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
from avss_core.training.history import Epoch, Step, Training
from avss_core.training.lora import refuse_encoder
from avss_core.training.objectives import Settings
from avss_core.training.teacher import Teacher
from avss_core.training.training import train


@dataclass(frozen=True, kw_only=True)
class HealingSettings(Settings):
    """Loss: KL(teacher || student) of the next token + hidden * distance of the layers' outputs.

    The KL divergence is a weighted mean over tokens.
    """

    answers: float = 1.0
    """Weight of each token of an answer or a label word; any other token has 1."""
    temperature: float = 1.0
    hidden: float = 0.0
    """Weight of the hidden states' distance; 0 leaves it out."""
    top_k: int | None = None
    """Likeliest words a token that are computed once and kept; None runs the teacher at each step."""
    slice_tokens: int = 512
    """Tokens whose logits, over the whole vocabulary, are in memory at a time."""


@dataclass(frozen=True)
class Window:
    """Consecutive tokens of a text, or a question with its answer."""

    ids: Ids
    weights: tuple[float, ...]
    """Weight of the prediction made at each token."""

    @property
    def sequences(self) -> tuple[Ids, ...]:
        """The one sequence."""
        return (self.ids,)

    @property
    def weight(self) -> float:
        """Sum of its weights: its tokens where all weigh alike."""
        return sum(self.weights)


class Distillation:
    """The objective over windows of tokens."""

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        train: Sequence[Ids],
        validation: Sequence[Ids],
        settings: HealingSettings,
        layer_map: Sequence[int],
        answers: Mapping[Ids, Sequence[int]] | None = None,
    ) -> None:
        """Take windows of token ids; empty ones are skipped and counted.

        Args:
            student: the pruned model; only its sizes are read.
            teacher: the dense model; stays as it is and runs in evaluation mode.
            train: windows to learn from.
            validation: windows of other text.
            settings: the weights of the terms.
            layer_map: for each layer of the student its number in the teacher.
            answers: positions of the tokens of answers and label words, by window, which weigh
                `settings.answers`.

        Raises:
            ValueError: the models do not share a vocabulary, the map does not fit them, or they are encoders,
                for which `EncoderDistillation` is made.
        """
        refuse_encoder(student)
        words = [int(model.config.vocab_size) for model in (student, teacher)]
        if words[0] != words[1] or len(layer_map) != depth(student.config):
            raise ValueError(
                f"a student of {words[0]} words and {depth(student.config)} layers cannot learn from a "
                f"teacher of {words[1]} words by a map of {len(layer_map)} layers"
            )
        strange = sorted(set(layer_map) - set(range(depth(teacher.config))))
        if strange:
            raise ValueError(f"layers {strange} of the map are not in a teacher of {depth(teacher.config)}")
        self.teacher, self.layer_map, self.settings = Teacher(teacher), list(layer_map), settings
        self.train, self.validation = (
            [
                _window(tuple(ids), (answers or {}).get(tuple(ids), ()), settings.answers)
                for ids in part
                if ids
            ]
            for part in (train, validation)
        )
        empty = len(train) + len(validation) - len(self.train) - len(self.validation)
        self.skipped: Mapping[str, int] = {"empty window": empty}
        self.weights: Mapping[str, float] = {"kl": 1.0, "hidden": settings.hidden}

    @property
    def identity(self) -> Any:
        """The teacher and the map."""
        return [self.teacher.digest(), self.layer_map]

    def prepare(self, sequences: Sequence[Ids], batch_size: int, store: TensorStore) -> None:
        """Keep the teacher's likeliest words at each token if `top_k` asks for it."""
        self.teacher.forget()
        self.teacher.share_weights()
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
        """Return the divergence, and the distance of hidden states if it has a weight."""
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
        weights = torch.tensor([each for window in examples for each in window.weights], device=last.device)
        divergences = self._divergence(model, last[real], *goal)
        terms = {"kl": (weights * divergences).sum() / weights.sum()}
        if look:
            goals = {layer: taught[self.layer_map[layer]].to(last.device) for layer in own}
            distances = [hidden_distance(goals[layer][real], output[real]) for layer, output in own.items()]
            terms["hidden"] = torch.stack(distances).mean()
        return terms

    def _divergence(self, model: FrozenPrefix, student: Tensor, *goal: Tensor) -> Float[Tensor, " tokens"]:
        """Return the divergence at each token.

        Logits are computed a slice at a time, and again for the gradient.
        """
        size = self.settings.slice_tokens
        if len(student) <= size:
            return self._slice(model, student, *goal)
        pieces = zip(*(torch.split(part, size) for part in (student, *goal)), strict=True)
        parts = [
            checkpoint(self._slice, model, *piece, use_reentrant=False, preserve_rng_state=False)
            for piece in pieces
        ]
        return torch.cat(parts)

    def _slice(self, model: FrozenPrefix, student: Tensor, *goal: Tensor) -> Float[Tensor, " tokens"]:
        """Return the divergence at some tokens from the teacher's hidden states or likeliest words."""
        logits = model.logits(student)
        if self.teacher.remembers:
            return top_kl_divergence(TopLogits(*goal), logits, self.settings.temperature)
        wanted = self.teacher.logits(goal[0].to(self.teacher.model.device)).to(logits.device)
        return kl_divergence(wanted, logits, self.settings.temperature)


def distil(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    train_windows: Sequence[Ids],
    validation_windows: Sequence[Ids],
    settings: HealingSettings,
    *,
    layer_map: Sequence[int],
    answers: Mapping[Ids, Sequence[int]] | None = None,
    layers: Sequence[int] | None = None,
    folder: Path | None = None,
    on_step: Callable[[Step], None] = lambda _step: None,
    on_epoch: Callable[[Epoch], None] = lambda _epoch: None,
    progress: Progress = no_progress,
) -> tuple[PreTrainedModel, Training]:
    """Return `avss_core.training.training.train` of a pruned model towards the `Distillation` objective.

    Args:
        student: the pruned model; stays as it was.
        teacher: the dense model; stays as it is.
        train_windows: token ids of text, and of questions with their answers.
        validation_windows: token ids of other text.
        settings: sizes, rates and weights.
        layer_map: for each layer of the student its number in the teacher.
        answers: as `Distillation`.
        layers: layers of the student to train; None for all.
        folder: as `train`.
        on_step: as `train`.
        on_epoch: as `train`.
        progress: as `train`.

    Raises:
        ValueError: as `train` and `Distillation`.
    """
    objective = Distillation(
        student, teacher, train_windows, validation_windows, settings, layer_map, answers
    )
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


def _window(ids: Ids, places: Sequence[int], weight: float) -> Window:
    """Return a window in which tokens at some places have another weight than 1."""
    weights = [1.0] * len(ids)
    for place in places:
        if place:  # the token at a place is predicted at the one before
            weights[place - 1] = weight
    return Window(ids, tuple(weights))


def _keeper(kept: dict[int, Tensor]) -> Visitor:
    """Return a visitor that keeps each block's output."""
    return lambda index, seen: kept.update({index: seen["output"]})
