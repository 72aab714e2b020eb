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
from avss_core.hallucination.samples import answer_tokens
from avss_core.judges.normalisation import normalise
from avss_core.models.activations import Seen
from avss_core.models.architectures import context_length
from avss_core.models.batches import Batch
from avss_core.progress import Progress, no_progress
from avss_core.training.contrastive import info_nce, masked_mean, mean_log_likelihood, preference_loss
from avss_core.training.frozen_prefix import FrozenPrefix, Ids
from avss_core.training.history import Epoch, Step, Training
from avss_core.training.objectives import Settings
from avss_core.training.training import train


@dataclass(frozen=True)
class Pair:
    """A question with an accepted and a wrong answer."""

    question: str
    accepted: str
    wrong: str
    accepted_all: tuple[str, ...] = ()
    """Further accepted answers, which another pair's answer may equal: they are not used as negatives."""


@dataclass(frozen=True)
class EncodedPair:
    """A pair as token ids; its sequences are the question with each answer, closed by a newline."""

    sequences: tuple[Ids, Ids]
    starts: tuple[int, int]
    """Index of each answer's first token."""
    answers: tuple[str, str]
    """Both answers, normalised."""
    accepted: frozenset[str]
    """All accepted answers, normalised."""
    weight: int = 1


@dataclass(frozen=True, kw_only=True)
class ContrastiveSettings(Settings):
    """Weights of the loss: cross entropy, preference (alpha) and InfoNCE (gamma); 0 leaves a term out."""

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
        context: int | None = None,
    ) -> None:
        """Encode every pair once.

        Args:
            tokenizer: the model's.
            train: pairs to learn from; empty answers and pairs past the context are skipped and counted.
            validation: pairs of other questions.
            layers: layers whose outputs InfoNCE compares.
            settings: the weights of the terms.
            context: most tokens that the model takes.

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
        self.train = _encoded(tokenizer, train, context, skipped)
        self.validation = _encoded(tokenizer, validation, context, skipped)
        self.skipped: Mapping[str, int] = dict(skipped)

    @property
    def identity(self) -> Any:
        """The accepted answers, which are not in the token ids."""
        return [sorted(pair.accepted) for pair in [*self.train, *self.validation]]

    def prepare(self, sequences: Sequence[Ids], batch_size: int, store: TensorStore) -> None:
        """Do nothing: the terms need no other model."""

    def terms(
        self, model: FrozenPrefix, examples: Sequence[EncodedPair], *, judging: bool
    ) -> dict[str, Tensor]:
        """Return the terms with a weight, in a validation also the share of preferred accepted answers."""
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
        terms: dict[str, Tensor] = {}
        if compares or chosen.cross_entropy:
            scored = len(rows) if compares else count
            scores = _scores(model, batch, last[:scored], answer[:scored])
            if chosen.cross_entropy:
                terms["cross_entropy"] = -scores[:count].mean()
            if chosen.alpha:
                terms["preference"] = preference_loss(scores[:count], scores[count:], chosen.beta)
            if judging:
                terms["preferred"] = (scores[:count] > scores[count:]).float().mean()
        if chosen.gamma:
            terms["info_nce"] = self._representation_loss(examples, hidden, starts, answer)
        return terms

    def _representation_loss(
        self,
        examples: Sequence[EncodedPair],
        hidden: Mapping[int, Tensor],
        starts: Tensor,
        answer: Tensor,
    ) -> Tensor:
        """Return the mean InfoNCE over layers: last question token against the mean of an answer's tokens."""
        count = len(examples)
        texts = [pair.answers[0] for pair in examples] + [pair.answers[1] for pair in examples]
        device = next(iter(hidden.values())).device
        positive = torch.eye(count, 2 * count, dtype=torch.bool, device=device)
        # An accepted answer of a question is not used as its negative, whichever pair it stands in.
        allowed = torch.tensor([[text not in pair.accepted for text in texts] for pair in examples])
        terms = []
        for layer in self.layers:
            anchors = hidden[layer][torch.arange(count), starts[:count] - 1]
            means = masked_mean(hidden[layer], answer.to(device))
            terms.append(info_nce(anchors, means, positive, allowed.to(device), self.settings.temperature))
        return torch.stack(terms).mean()


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
    """Return `avss_core.training.training.train` towards the `Contrastive` objective.

    Raises:
        ValueError: as `train` and `Contrastive`.
    """
    context = context_length(model.config)
    objective = Contrastive(tokenizer, train_pairs, validation_pairs, layers, settings, context=context)
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
    """Return a validation's loss without InfoNCE, in nats.

    InfoNCE compares outputs of the trained layers, so a loss that holds it is not comparable between choices
    of layers.
    """
    weights = {"cross_entropy": settings.cross_entropy, "preference": settings.alpha}
    return sum(weight * terms[name] for name, weight in weights.items() if weight)


def _scores(model: FrozenPrefix, batch: Batch, last: Tensor, answer: Tensor) -> Tensor:
    """Return the mean log-likelihood of each row's answer; logits are computed at the last positions only."""
    kept = int(answer.sum(1).max()) + 1
    ids = batch.ids[: len(last), -kept:].to(last.device)
    return mean_log_likelihood(model.logits(last[:, -kept:]), ids, answer[:, -kept:].to(last.device))


def _encoded(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], context: int | None, skipped: Counter[str]
) -> list[EncodedPair]:
    """Return the usable pairs as token ids, and count the others by reason."""
    encoded = []
    for pair in pairs:
        if not pair.accepted.strip() or not pair.wrong.strip():
            skipped["no accepted answer" if not pair.accepted.strip() else "no wrong answer"] += 1
            continue
        rows = [answer_tokens(tokenizer, pair.question, f"{text}\n") for text in (pair.accepted, pair.wrong)]
        if context is not None and max(len(ids) for ids, _ in rows) > context:
            skipped["longer than the model's context"] += 1
            continue
        (good, good_start), (bad, bad_start) = rows
        texts = (normalise(pair.accepted), normalise(pair.wrong))
        known = frozenset({texts[0], *map(normalise, pair.accepted_all)})
        encoded.append(EncodedPair((tuple(good), tuple(bad)), (good_start, bad_start), texts, known))
    return encoded
