"""Mitigation: prefer accepted answers over wrong ones, in likelihood and in representation."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.files.tensor_store import TensorStore
from avss_core.models.activations import Seen
from avss_core.models.architectures import context_length
from avss_core.models.batches import Batch
from avss_core.progress import Progress, no_progress
from avss_core.training.contrastive import info_nce, masked_mean, mean_log_likelihood, preference_loss
from avss_core.training.frozen_prefix import FrozenPrefix, Ids
from avss_core.training.objectives import Epoch, Settings, Step, Training
from avss_core.training.pairs import EncodedPair, Pair, encode_pairs
from avss_core.training.training import train


@dataclass(frozen=True, kw_only=True)
class ContrastiveSettings(Settings):
    """The loss is cross entropy + alpha * preference + gamma * InfoNCE; a term of weight 0 is left out."""

    alpha: float
    beta: float
    gamma: float
    temperature: float
    cross_entropy: float = 1.0


class Contrastive:
    """The objective over pairs of accepted and wrong answers."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        train: Sequence[Pair],
        validation: Sequence[Pair],
        layers: Sequence[int],
        settings: ContrastiveSettings,
        *,
        room: int | None = None,
    ) -> None:
        """Encode every pair once.

        Args:
            tokenizer: the model's.
            train: pairs to learn from; those that cannot be used are left out and counted.
            validation: pairs of other questions.
            layers: where InfoNCE looks.
            settings: the weights.
            room: the model's context in tokens.

        Raises:
            ValueError: every weight is 0.
        """
        self.layers, self.settings = sorted(layers), settings
        self.weights: Mapping[str, float] = {
            "cross_entropy": settings.cross_entropy,
            "preference": settings.alpha,
            "info_nce": settings.gamma,
        }
        if not any(self.weights.values()):
            raise ValueError("every weight of the loss is 0: cross_entropy, alpha and gamma")
        skipped: Counter[str] = Counter()
        self.train = encode_pairs(tokenizer, train, room, skipped)
        self.validation = encode_pairs(tokenizer, validation, room, skipped)
        self.skipped: Mapping[str, int] = dict(skipped)

    @property
    def identity(self) -> Any:
        """What the token ids do not show: which answers are no negatives."""
        return [sorted(pair.accepted) for pair in [*self.train, *self.validation]]

    def prepare(self, sequences: Sequence[Ids], batch_size: int, store: TensorStore) -> None:
        """Do nothing: no other model is asked."""

    def terms(
        self, model: FrozenPrefix, examples: Sequence[EncodedPair], *, judging: bool
    ) -> dict[str, Tensor]:
        """Return the terms with a weight, and in a validation the share of preferred accepted answers."""
        count, chosen = len(examples), self.settings
        compares = judging or bool(chosen.alpha)
        rows = [(pair.sequences[0], pair.starts[0]) for pair in examples]
        if compares or chosen.gamma:
            rows += [(pair.sequences[1], pair.starts[1]) for pair in examples]
        hidden: dict[int, Tensor] = {}

        def visit(index: int, seen: Seen) -> None:
            if index in self.layers:
                hidden[index] = seen["output"]

        batch, last = model([ids for ids, _ in rows], visit if chosen.gamma else None)
        width = batch.ids.shape[1]
        starts = torch.tensor([width - len(ids) + start for ids, start in rows])
        answer = torch.arange(width) >= starts.unsqueeze(1)
        found: dict[str, Tensor] = {}
        if compares or chosen.cross_entropy:
            scored = len(rows) if compares else count
            scores = _scores(model, batch, last[:scored], answer[:scored])
            if chosen.cross_entropy:
                found["cross_entropy"] = -scores[:count].mean()
            if chosen.alpha:
                found["preference"] = preference_loss(scores[:count], scores[count:], chosen.beta)
            if judging:
                found["preferred"] = (scores[:count] > scores[count:]).float().mean()
        if chosen.gamma:
            found["info_nce"] = self._representation_loss(examples, hidden, starts, answer)
        return found

    def _representation_loss(
        self,
        examples: Sequence[EncodedPair],
        hidden: Mapping[int, Tensor],
        starts: Tensor,
        answer: Tensor,
    ) -> Tensor:
        """Return the layers' mean InfoNCE: last question token against the masked mean of each answer."""
        count = len(examples)
        texts = [pair.answers[0] for pair in examples] + [pair.answers[1] for pair in examples]
        device = next(iter(hidden.values())).device
        positive = torch.eye(count, 2 * count, dtype=torch.bool, device=device)
        # An accepted answer of a question is no negative of it, whichever pair it stands in.
        allowed = torch.tensor([[text not in pair.accepted for text in texts] for pair in examples])
        terms = []
        for layer in self.layers:
            anchors = hidden[layer][torch.arange(count), starts[:count] - 1]
            means = masked_mean(hidden[layer], answer.to(device))
            terms.append(info_nce(anchors, means, positive, allowed.to(device), self.settings.temperature))
        return torch.stack(terms).mean()


def contrastive(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train_pairs: Sequence[Pair],
    validation_pairs: Sequence[Pair],
    layers: Sequence[int],
    settings: ContrastiveSettings,
) -> Contrastive:
    """Return the objective of a model's training.

    Pairs with an empty or no wrong answer, or longer than the model's context, are left out and counted in
    its `skipped`.

    Raises:
        ValueError: every weight of the loss is 0.
    """
    return Contrastive(
        tokenizer, train_pairs, validation_pairs, layers, settings, room=context_length(model.config)
    )


def train_contrastive(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train_pairs: Sequence[Pair],
    validation_pairs: Sequence[Pair],
    layers: Sequence[int],
    settings: ContrastiveSettings,
    *,
    folder: Path | None = None,
    on_step: Callable[[Step], None] = lambda _step: None,
    on_epoch: Callable[[Epoch], None] = lambda _epoch: None,
    progress: Progress = no_progress,
) -> tuple[PreTrainedModel, Training]:
    """Return `train` of the `contrastive` objective; see both.

    Raises:
        ValueError: as `train` and `contrastive`.
    """
    objective = contrastive(model, tokenizer, train_pairs, validation_pairs, layers, settings)
    return train(
        model,
        objective,
        layers,
        settings,
        folder=folder,
        on_step=on_step,
        on_epoch=on_epoch,
        progress=progress,
    )


def answer_loss(terms: Mapping[str, float], settings: ContrastiveSettings) -> float:
    """Return the part of a validation's terms that means the same whichever layers are trained, in nats.

    That is cross entropy + alpha * preference. InfoNCE looks at the trained layers, so losses that hold it
    are not comparable between choices of layers.
    """
    weights = {"cross_entropy": settings.cross_entropy, "preference": settings.alpha}
    return sum(weight * terms[name] for name, weight in weights.items() if weight)


def _scores(model: FrozenPrefix, batch: Batch, last: Tensor, answer: Tensor) -> Tensor:
    """Return the mean log-likelihood of each row's answer; logits are made of the last positions alone."""
    kept = int(answer.sum(1).max()) + 1
    ids = batch.ids[: len(last), -kept:].to(last.device)
    return mean_log_likelihood(model.logits(last[:, -kept:]), ids, answer[:, -kept:].to(last.device))
