"""Train LoRA adapters on chosen layers with the contrastive loss, and merge them into a plain model."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool
from peft import LoraConfig, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.activations import Seen, observed
from avss_core.answers import normalise
from avss_core.architectures import architecture_of, depth
from avss_core.batches import Batch, pad
from avss_core.contrastive import info_nce, masked_mean, mean_log_likelihood, preference_loss
from avss_core.samples import answer_tokens


@dataclass(frozen=True)
class Pair:
    """A question with one accepted and one wrong answer; `accepted_all` guards against false negatives."""

    question: str
    accepted: str
    wrong: str
    accepted_all: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """How to train; the loss is cross entropy + alpha * preference + gamma * InfoNCE."""

    epochs: int
    learning_rate: float
    batch_size: int
    rank: int
    alpha: float
    beta: float
    gamma: float
    temperature: float
    patience: int
    seed: int


@dataclass(frozen=True)
class Epoch:
    """Mean losses of one epoch; the model with the lowest validation loss is kept."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_preference: float
    """Share of validation pairs whose accepted answer is the more likely one."""


@dataclass(frozen=True)
class _Encoded:
    """Accepted answers in the first half of the rows, wrong ones in the second, same questions in order."""

    batch: Batch
    answer: Bool[Tensor, "rows seq"]
    last_question: Tensor
    forbidden: Bool[Tensor, "pairs candidates"]
    """Candidates that are an accepted answer of another question too."""
    kept: int
    """Trailing positions whose logits predict some answer's tokens, the last of them predicting nothing."""


def train_contrastive(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Pair],
    validation: Sequence[Pair],
    layers: Sequence[int],
    settings: Settings,
    *,
    on_epoch: Callable[[Epoch], None] = lambda _epoch: None,
    on_step: Callable[[int], None] = lambda _pairs: None,
) -> tuple[PreTrainedModel, list[Epoch]]:
    """Return a merged model, trained on the chosen layers alone, and the history of its training.

    The given model is left as it was. Every tensor outside the chosen layers keeps its bits.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        train: pairs to learn from.
        validation: pairs of other questions, by which the epoch is chosen.
        layers: layers to train, numbered as in `model`.
        settings: sizes, rates and loss weights.
        on_epoch: told of each finished epoch.
        on_step: told of each finished batch's pairs.

    Raises:
        ValueError: there is no pair or no layer, the model has no such layer, or the loss is not a finite
            number.
    """
    if not train or not validation or not layers:
        raise ValueError(
            f"training needs pairs and layers, got {len(train)} train pairs, {len(validation)} validation "
            f"pairs and {len(layers)} layers; rows need wrong_answers to make pairs"
        )
    strange = sorted(set(layers) - set(range(depth(model.config))))
    if strange:
        raise ValueError(
            f"layers {strange} are not in a model of {depth(model.config)} layers, numbered from 0"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        adapted = _with_adapters(model, layers, settings.rank)
        history = _fit(adapted, tokenizer, train, validation, layers, settings, on_epoch, on_step)
    merged: PreTrainedModel = adapted.merge_and_unload().eval()
    return merged, history


def _with_adapters(model: PreTrainedModel, layers: Sequence[int], rank: int) -> Any:
    """Return a PEFT copy of the model with adapters on the chosen layers alone."""
    family = architecture_of(model)
    stack = family.blocks.rpartition(".")[2]
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=list(family.linear),
        layers_to_transform=sorted(layers),
        layers_pattern=stack,
        fan_in_fan_out=family.fan_in_fan_out,
        task_type="CAUSAL_LM",
    )
    # The model's own dropout stays off, also where the given model is in training mode.
    return get_peft_model(copy.deepcopy(model), config).eval()


def _fit(
    adapted: Any,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Pair],
    validation: Sequence[Pair],
    layers: Sequence[int],
    settings: Settings,
    on_epoch: Callable[[Epoch], None],
    on_step: Callable[[int], None],
) -> list[Epoch]:
    """Train in place, leave the adapters of the best epoch in the model, and return the history."""
    parameters = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
    steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_cosine(steps))
    history: list[Epoch] = []
    best, best_loss = get_peft_model_state_dict(adapted), math.inf
    order = torch.Generator().manual_seed(settings.seed)
    lengths = [len(tokenizer(f"{pair.question} {pair.accepted}").input_ids) for pair in train]
    for number in range(1, settings.epochs + 1):
        total = 0.0
        for chosen in _batches(lengths, settings.batch_size, order):
            pairs = [train[index] for index in chosen]
            loss, _ = _loss(adapted, tokenizer, pairs, layers, settings)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise ValueError(_not_finite("training", number, value))
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total += value * len(pairs)
            on_step(len(pairs))
        held_out, preferred = _validate(adapted, tokenizer, validation, layers, settings)
        if not math.isfinite(held_out):
            raise ValueError(_not_finite("validation", number, held_out))
        history.append(Epoch(number, total / len(train), held_out, preferred))
        on_epoch(history[-1])
        if held_out < best_loss:
            best, best_loss = {k: v.clone() for k, v in get_peft_model_state_dict(adapted).items()}, held_out
        elif number - _best_epoch(history) >= settings.patience:
            break
    set_peft_model_state_dict(adapted, best)
    return history


def _not_finite(part: str, epoch: int, loss: float) -> str:
    """Return the message for a loss that is not a finite number."""
    return f"the {part} loss of epoch {epoch} is {loss}; lower mitigate.learning_rate"


def _batches(lengths: Sequence[int], size: int, generator: torch.Generator) -> list[list[int]]:
    """Return batches of indices in random order; a batch holds sequences of similar length, to pad little."""
    shuffled = torch.randperm(len(lengths), generator=generator).tolist()
    by_length = sorted(shuffled, key=lambda index: lengths[index])
    batches = [by_length[start : start + size] for start in range(0, len(by_length), size)]
    return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]


def _best_epoch(history: Sequence[Epoch]) -> int:
    """Return the number of the epoch with the lowest validation loss."""
    return min(history, key=lambda epoch: epoch.validation_loss).epoch


def _warm_cosine(steps: int) -> Callable[[int], float]:
    """Return the share of the learning rate at each step: a short linear warm-up, then half a cosine."""
    warm = max(1, steps // 20)
    return lambda step: min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps)))))


@torch.inference_mode()
def _validate(
    adapted: Any,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    layers: Sequence[int],
    settings: Settings,
) -> tuple[float, float]:
    """Return the mean loss and the share of preferred accepted answers over validation pairs."""
    total, preferred = 0.0, 0.0
    for start in range(0, len(pairs), settings.batch_size):
        part = pairs[start : start + settings.batch_size]
        loss, wins = _loss(adapted, tokenizer, part, layers, settings)
        total += float(loss) * len(part)
        preferred += wins
    return total / len(pairs), preferred / len(pairs)


def _loss(
    adapted: Any,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    layers: Sequence[int],
    settings: Settings,
) -> tuple[Tensor, int]:
    """Return the loss of a batch of pairs, and in how many the accepted answer is the more likely one."""
    encoded = _encode(tokenizer, pairs)
    hidden: dict[int, Tensor] = {}

    def visit(index: int, seen: Seen) -> None:
        if index in layers:
            hidden[index] = seen["output"]

    device = next(adapted.parameters()).device
    with observed(adapted.get_base_model(), visit):
        logits = adapted(**encoded.batch.inputs(device), logits_to_keep=encoded.kept).logits
    ids, answer = encoded.batch.ids.to(device), encoded.answer.to(device)
    scores = mean_log_likelihood(logits, ids[:, -encoded.kept :], answer[:, -encoded.kept :])
    accepted, wrong = scores.chunk(2)
    loss = -accepted.mean()
    if settings.alpha:
        loss = loss + settings.alpha * preference_loss(accepted, wrong, settings.beta)
    if settings.gamma:
        terms = [
            _representation_loss(hidden[layer], answer, encoded, settings.temperature) for layer in layers
        ]
        loss = loss + settings.gamma * torch.stack(terms).mean()
    return loss, int((accepted > wrong).sum())


def _representation_loss(hidden: Tensor, answer: Tensor, encoded: _Encoded, temperature: float) -> Tensor:
    """Return InfoNCE at one layer: the last question token against the masked mean of each answer."""
    count = len(hidden) // 2
    anchors = hidden[torch.arange(count), encoded.last_question[:count]]
    positive = torch.eye(count, 2 * count, dtype=torch.bool, device=hidden.device)
    allowed = ~encoded.forbidden.to(hidden.device)
    return info_nce(anchors, masked_mean(hidden, answer), positive, allowed, temperature)


def _encode(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> _Encoded:
    """Return the token batch of accepted and wrong answers, each closed by a newline as in the prompt."""
    texts = [(pair.question, pair.accepted) for pair in pairs]
    texts += [(pair.question, pair.wrong) for pair in pairs]
    encoded = [answer_tokens(tokenizer, question, f"{answer}\n") for question, answer in texts]
    # Padding on the left puts the answers at the end, so that only their positions need logits.
    batch = pad([ids for ids, _ in encoded], left=True)
    width = batch.ids.shape[1]
    starts = torch.tensor([width - len(ids) + start for ids, start in encoded])
    answer = torch.arange(width) >= starts.unsqueeze(1)
    golds = [{normalise(text) for text in (pair.accepted, *pair.accepted_all)} for pair in pairs]
    forbidden = torch.tensor([[normalise(text) in known for _, text in texts] for known in golds])
    return _Encoded(batch, answer, starts - 1, forbidden, kept=width - int(starts.min()) + 1)


def history_records(history: Sequence[Epoch]) -> list[dict[str, Any]]:
    """Return the history as JSON values."""
    return [asdict(epoch) for epoch in history]
