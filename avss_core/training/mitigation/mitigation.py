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
from avss_core.models.placement import input_device
from avss_core.progress import Progress, no_progress
from avss_core.training.distillation import kl_divergence
from avss_core.training.frozen_prefix import FrozenPrefix, Ids
from avss_core.training.history import Epoch, Step, Training
from avss_core.training.mitigation.contrastive import (
    brier_loss,
    info_nce,
    masked_mean,
    mean_log_likelihood,
    preference_loss,
)
from avss_core.training.mitigation.pairs import EncodedPair, Pair, encoded_pairs
from avss_core.training.objectives import Settings
from avss_core.training.teacher import Teacher
from avss_core.training.training import train


@dataclass(frozen=True, kw_only=True)
class ContrastiveSettings(Settings):
    """Weights of the loss; 0 leaves a term out."""

    alpha: float
    """Of the preference for accepted over wrong answers."""
    beta: float
    gamma: float
    """Of InfoNCE."""
    temperature: float
    cross_entropy: float = 1.0
    """Of the accepted answers' cross entropy."""
    brier: float = 0.0
    """Of the squared distance of the confidence in the model's own answers from the judge's verdicts."""
    anchor: float = 0.0
    """Of the KL divergence from the model before the training, on other text."""
    known: float = 1.0
    """How much a question that the model answers right counts in cross entropy and preference."""


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
        base: PreTrainedModel | None = None,
        anchors: tuple[Sequence[Ids], Sequence[Ids]] = ((), ()),
    ) -> None:
        """Encode every pair once.

        Args:
            tokenizer: the model's.
            train: pairs to learn from; empty answers and pairs past the context are skipped and counted.
            validation: pairs of other questions.
            layers: layers whose outputs InfoNCE compares.
            settings: the weights of the terms.
            context: most tokens that the model takes.
            base: the model before the training, from which `anchor` keeps it.
            anchors: windows of other text that go with the train and the validation pairs.

        Raises:
            ValueError: every weight is 0, or what a term with a weight needs is missing: own answers for
                `brier` and for a weight of `known` other than 1, a base and windows for `anchor`.
        """
        self.layers, self.settings = sorted(layers), settings
        self.weights: Mapping[str, float] = {
            "cross_entropy": settings.cross_entropy,
            "preference": settings.alpha,
            "info_nce": settings.gamma,
            "brier": settings.brier,
            "anchor": settings.anchor,
        }
        if not any(self.weights.values()):
            raise ValueError("every weight of the loss is 0: cross_entropy, alpha, gamma, brier and anchor")
        _refuse_missing([*train, *validation], settings, base, anchors)
        self.base = Teacher(base) if base is not None and settings.anchor else None
        skipped: Counter[str] = Counter()
        self.train, self.validation = (
            encoded_pairs(tokenizer, pairs, windows if settings.anchor else (), context, skipped)
            for pairs, windows in zip((train, validation), anchors, strict=True)
        )
        self.skipped: Mapping[str, int] = dict(skipped)

    @property
    def identity(self) -> Any:
        """The accepted answers and the verdicts, which are not in the token ids, and the base."""
        pairs = [[sorted(pair.accepted), pair.known] for pair in [*self.train, *self.validation]]
        return [pairs, self.base and self.base.digest()]

    def prepare(self, sequences: Sequence[Ids], batch_size: int, store: TensorStore) -> None:
        """Keep nothing: the base is asked anew at each step."""
        if self.base is not None:
            self.base.share_weights()

    def terms(
        self, model: FrozenPrefix, examples: Sequence[EncodedPair], *, judging: bool
    ) -> dict[str, Tensor]:
        """Return the terms with a weight, in a validation also the share of preferred accepted answers."""
        chosen = self.settings
        terms: dict[str, Tensor] = {}
        if judging or chosen.cross_entropy or chosen.alpha or chosen.gamma:
            terms |= self._answer_terms(model, examples, compares=judging or bool(chosen.alpha))
            if not judging:
                terms.pop("preferred", None)
        if chosen.brier:
            terms["brier"] = self._confidence_loss(model, examples)
        if self.base is not None:
            terms["anchor"] = self._distance(model, self.base, [pair.anchor for pair in examples])
        return terms

    def _answer_terms(
        self, model: FrozenPrefix, examples: Sequence[EncodedPair], *, compares: bool
    ) -> dict[str, Tensor]:
        """Return the terms of accepted and wrong answers that have a weight."""
        count, chosen = len(examples), self.settings
        rows = [(pair.given[0], pair.starts[0]) for pair in examples]
        if compares or chosen.gamma:
            rows += [(pair.given[1], pair.starts[1]) for pair in examples]
        hidden: dict[int, Tensor] = {}

        def visit(index: int, seen: Seen) -> None:
            if index in self.layers:
                hidden[index] = seen["output"]

        batch, last = model([ids for ids, _ in rows], visit if chosen.gamma else None)
        starts, answer = _places(batch, rows)
        terms: dict[str, Tensor] = {}
        if compares or chosen.cross_entropy:
            scored = len(rows) if compares else count
            scores = _scores(model, batch, last[:scored], answer[:scored])
            weights = scores.new_tensor([chosen.known if pair.known else 1.0 for pair in examples])
            if chosen.cross_entropy:
                terms["cross_entropy"] = -(weights * scores[:count]).mean()
            if chosen.alpha:
                terms["preference"] = preference_loss(scores[:count], scores[count:], chosen.beta, weights)
            if compares:
                terms["preferred"] = (scores[:count] > scores[count:]).float().mean()
        if chosen.gamma:
            terms["info_nce"] = self._representation_loss(examples, hidden, starts, answer)
        return terms

    def _confidence_loss(self, model: FrozenPrefix, examples: Sequence[EncodedPair]) -> Tensor:
        """Return the Brier score of the confidence in the own answers of some pairs; 0 without any."""
        answered = [pair for pair in examples if pair.reply]
        if not answered:
            return torch.zeros((), device=input_device(model.model), requires_grad=True)
        batch, last = model([pair.reply for pair in answered])
        _, answer = _places(batch, [(pair.reply, pair.reply_start) for pair in answered])
        scores = _scores(model, batch, last, answer)
        return brier_loss(scores, scores.new_tensor([pair.known for pair in answered], dtype=torch.bool))

    def _distance(self, model: FrozenPrefix, base: Teacher, windows: Sequence[Ids]) -> Tensor:
        """Return the mean divergence from the base over the tokens of some windows."""
        batch, last = model(windows)
        wanted = base.ask(windows)[1][batch.attention.to(last.device)]
        own = last[batch.attention.to(last.device)]
        return kl_divergence(base.logits(wanted).to(own.device), model.logits(own)).mean()

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
    anchors: tuple[Sequence[Ids], Sequence[Ids]] = ((), ()),
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
    objective = Contrastive(
        tokenizer,
        train_pairs,
        validation_pairs,
        layers,
        settings,
        context=context,
        base=model,
        anchors=anchors,
    )
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
    """Return a validation's loss without InfoNCE.

    InfoNCE compares outputs of the trained layers, so a loss that holds it is not comparable between choices
    of layers.
    """
    weights = {
        "cross_entropy": settings.cross_entropy,
        "preference": settings.alpha,
        "brier": settings.brier,
        "anchor": settings.anchor,
    }
    return sum(weight * terms[name] for name, weight in weights.items() if weight)


def _refuse_missing(
    pairs: Sequence[Pair],
    settings: ContrastiveSettings,
    base: PreTrainedModel | None,
    anchors: tuple[Sequence[Ids], Sequence[Ids]],
) -> None:
    """Raise ValueError if a term with a weight lacks what it is made of."""
    if (settings.brier or settings.known != 1) and not any(pair.reply for pair in pairs):
        raise ValueError("the weights brier and known need the model's own answers: give pairs with a reply")
    if settings.anchor and (base is None or not all(anchors)):
        raise ValueError(
            "the weight anchor needs the model before the training, and windows of other text for training "
            "and validation"
        )


def _places(batch: Batch, rows: Sequence[tuple[Ids, int]]) -> tuple[Tensor, Tensor]:
    """Return where each row's answer starts in a batch padded on the left, and its tokens."""
    width = batch.ids.shape[1]
    starts = torch.tensor([width - len(ids) + start for ids, start in rows])
    return starts, torch.arange(width) >= starts.unsqueeze(1)


def _scores(model: FrozenPrefix, batch: Batch, last: Tensor, answer: Tensor) -> Tensor:
    """Return the mean log-likelihood of each row's answer; logits are computed at the last positions only."""
    kept = int(answer.sum(1).max()) + 1
    ids = batch.ids[: len(last), -kept:].to(last.device)
    return mean_log_likelihood(model.logits(last[:, -kept:]), ids, answer[:, -kept:].to(last.device))
