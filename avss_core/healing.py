"""Healing: a pruned model learns the dense one's distributions back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from avss_core.activations import Visitor
from avss_core.architectures import depth
from avss_core.batches import Batch
from avss_core.distillation import TopLogits, hidden_distance, kl_divergence, top_kl_divergence, top_logits
from avss_core.frozen_prefix import FrozenPrefix, Ids
from avss_core.objectives import Epoch, Settings, Step, Training
from avss_core.progress import Progress, no_progress
from avss_core.tensor_store import TensorStore
from avss_core.training import train


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
        self.teacher, self.layer_map, self.settings = FrozenPrefix(teacher), list(layer_map), settings
        self.train = [Window(tuple(ids)) for ids in train if ids]
        self.validation = [Window(tuple(ids)) for ids in validation if ids]
        self.skipped: Mapping[str, int] = {
            "empty window": len(train) + len(validation) - len(self.train) - len(self.validation)
        }
        self.weights: Mapping[str, float] = {"kl": 1.0, "hidden": settings.hidden}
        self._store: TensorStore | None = None

    @torch.no_grad()
    def prepare(self, sequences: Sequence[Ids], batch_size: int, store: TensorStore) -> None:
        """Keep the teacher's likeliest words at each token, where `top_k` asks for it."""
        if self.settings.top_k is None:
            return
        self._store = store
        distinct = [ids for ids in dict.fromkeys(sequences) if ("teacher", ids) not in store]
        for start in range(0, len(distinct), batch_size):
            part = distinct[start : start + batch_size]
            batch, hidden = self._ask(part, None)
            tokens = torch.split(hidden[batch.attention.to(hidden.device)], self.settings.slice_tokens)
            tops = [
                top_logits(self.teacher.logits(cut), self.settings.top_k, self.settings.temperature)
                for cut in tokens
            ]
            sizes = [len(ids) for ids in part]
            chances, words = torch.cat([t.chances for t in tops]), torch.cat([t.words for t in tops])
            pieces = zip(part, torch.split(chances, sizes), torch.split(words, sizes), strict=True)
            store.put({("teacher", ids): {"chances": c, "words": w} for ids, c, w in pieces})

    def terms(self, model: FrozenPrefix, examples: Sequence[Window], *, judging: bool) -> dict[str, Tensor]:
        """Return the divergence, and the distance of hidden states where it has a weight."""
        sequences = [window.ids for window in examples]
        own: dict[int, Tensor] = {}
        taught: dict[int, Tensor] = {}
        look = bool(self.settings.hidden)
        batch, last = model(sequences, _keeper(own) if look else None)
        real = batch.attention.to(last.device)
        goal: tuple[Tensor, ...] = ()
        if self._store is not None:
            goal = _kept(self._store, sequences, last.device)
        if look or not goal:
            _, hidden = self._ask(sequences, _keeper(taught) if look else None)
            goal = goal or (hidden[real],)
        found = {"kl": self._divergence(model, goal, last[real])}
        if look:
            distances = [hidden_distance(taught[self.layer_map[at]][real], own[at][real]) for at in own]
            found["hidden"] = torch.stack(distances).mean()
        return found

    def _divergence(
        self, model: FrozenPrefix, goal: tuple[Tensor, ...], student: Float[Tensor, "tokens hidden"]
    ) -> Float[Tensor, ""]:
        """Return the mean divergence; logits are made a slice at a time, and again for the gradient."""
        size = self.settings.slice_tokens
        pieces = zip(*(torch.split(part, size) for part in (student, *goal)), strict=True)
        if len(student) <= size:
            return self._slice(model, student, *goal).mean()
        parts = [
            checkpoint(self._slice, model, *piece, use_reentrant=False, preserve_rng_state=False)
            for piece in pieces
        ]
        return torch.cat(parts).mean()

    def _slice(self, model: FrozenPrefix, student: Tensor, *goal: Tensor) -> Float[Tensor, " tokens"]:
        """Return the divergence at some tokens from the teacher's hidden states or likeliest words."""
        logits = model.logits(student)
        if self._store is not None:
            return top_kl_divergence(TopLogits(*goal), logits, self.settings.temperature)
        with torch.no_grad():
            wanted = self.teacher.logits(goal[0].to(self.teacher.model.device)).to(logits.device)
        return kl_divergence(wanted, logits, self.settings.temperature)

    @torch.no_grad()
    def _ask(
        self, sequences: Sequence[Ids], visit: Visitor | None
    ) -> tuple[Batch, Float[Tensor, "batch seq hidden"]]:
        """Run the teacher, without its dropout."""
        was = self.teacher.model.training
        self.teacher.model.train(False)
        try:
            return self.teacher(sequences, visit)
        finally:
            self.teacher.model.train(was)


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
        ValueError: as `train` and `Distillation`, or the two models do not share a vocabulary.
    """
    sizes = [int(model.config.vocab_size) for model in (student, teacher)]
    if sizes[0] != sizes[1] or len(layer_map) != depth(student.config):
        raise ValueError(
            f"a student of {sizes[0]} words and {depth(student.config)} layers cannot learn from a teacher "
            f"of {sizes[1]} words by a map of {len(layer_map)} layers"
        )
    objective = Distillation(teacher, train_windows, validation_windows, layer_map, settings)
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


def _kept(store: TensorStore, sequences: Sequence[Ids], device: torch.device) -> tuple[Tensor, ...]:
    """Return the chances of the teacher's likeliest words and the words, at all tokens of a batch."""
    found = [store.get(("teacher", ids)) for ids in sequences]
    return tuple(torch.cat([kept[name] for kept in found]).to(device) for name in ("chances", "words"))
