"""Language modelling: mean negative log-likelihood of a text, and the perplexities that follow from it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, linear
from transformers import PreTrainedModel

from avss_core.models.architectures import ARCHITECTURES, architecture, context_length
from avss_core.models.placement import input_device, weights_at_hand
from avss_core.progress import Progress, no_progress

HEAD_WORDS = 1024
"""Entries of the vocabulary whose logits are held at once. All logits of a batch would take gigabytes; those
of 2048 positions and 1024 words fit the processor's cache, which makes the loss a quarter faster."""


@dataclass(frozen=True)
class LanguageModelling:
    """Summed loss of a text (nats), with the counts that divide it."""

    nll: float
    tokens: int
    words: int
    bytes: int
    window_means: tuple[float, ...]
    """Mean loss of each window in text order; intervals are drawn from these."""

    @property
    def nll_per_token(self) -> float:
        """Return nats a token."""
        return self.nll / self.tokens

    def perplexities(self) -> dict[str, float]:
        """Return the perplexity per token, per word and per byte; lower is better.

        Example:
            >>> loss = LanguageModelling(8 * math.log(2), tokens=8, words=4, bytes=32, window_means=())
            >>> {name: round(value, 3) for name, value in loss.perplexities().items()}
            {'token_perplexity': 2.0, 'word_perplexity': 4.0, 'byte_perplexity': 1.189}
        """
        counts = {"token": self.tokens, "word": self.words, "byte": self.bytes}
        return {f"{unit}_perplexity": math.exp(min(self.nll / n, 700.0)) for unit, n in counts.items()}


def language_modelling(
    model: PreTrainedModel,
    ids: Sequence[int],
    text: str,
    *,
    window: int = 512,
    context: int = 0,
    batch_size: int = 4,
    progress: Progress = no_progress,
) -> LanguageModelling:
    """Return the loss of a token stream in windows; each token is predicted at most once.

    Without a context the windows are disjoint, and every token but the first is predicted. With one they are
    strided: windows of `context` + `window` tokens advance by `window`, and the last `window` of each are
    predicted.

    Args:
        model: a causal language model.
        ids: the token stream.
        text: the text that the ids encode, for the counts of words and bytes.
        window: predicted tokens a window.
        context: tokens before each window that are read and not predicted: every predicted token has at least
            this many before it, and the first ones of the stream are never predicted.
        batch_size: windows a batch.
        progress: called with the windows of each finished batch.

    Raises:
        ValueError: the model is an encoder, there are fewer than two tokens, a window does not fit the
            model's context, or the loss is not a finite number.
    """
    batches = window_batches(model, ids, window, batch_size, context)
    return batches_loss(model, batches, text, context=context, progress=progress)


def window_batches(
    model: PreTrainedModel, ids: Sequence[int], window: int, batch_size: int, context: int = 0
) -> list[Int[Tensor, "_ _"]]:
    """Return the windows of a token stream in batches, on the model's device.

    A window starts with the last token of the one before, so that no token goes unpredicted, and behind its
    context. The windows of a batch have one length: `context` + `window` + 1 tokens, less for the last.

    Raises:
        ValueError: the model is an encoder, no token is left to predict, or a window does not fit the model's
            context.
    """
    _check_causal(model)
    if len(ids) < context + 2:
        raise ValueError(f"a text of {len(ids)} tokens has nothing to predict; give at least {context + 2}")
    room, longest = context_length(model.config), context + window
    if room is not None and min(longest, len(ids) - 1) > room:
        raise ValueError(f"a window of {longest} tokens does not fit the model's {room} positions")
    pieces = [list(ids[i : i + longest + 1]) for i in range(0, len(ids) - 1 - context, window)]
    return [torch.tensor(group, device=input_device(model)) for group in _equal_lengths(pieces, batch_size)]


@torch.inference_mode()
def batches_loss(
    model: PreTrainedModel,
    batches: Iterable[Int[Tensor, "_ _"]],
    text: str,
    *,
    context: int = 0,
    progress: Progress = no_progress,
) -> LanguageModelling:
    """Return the loss of batches of windows with a context, as `window_batches` makes them.

    Raises:
        ValueError: the loss is not a finite number.
    """
    total, tokens, means = 0.0, 0, []
    for batch in batches:
        losses = token_losses(model, batch, context)
        total += float(losses.sum())
        tokens += losses.numel()
        means += losses.mean(1).tolist()
        progress(len(batch))
    if not math.isfinite(total):
        raise ValueError("the loss is not a finite number; load the model in float32 or check its weights")
    words = max(1, len(text.split()))
    return LanguageModelling(total, tokens, words, max(1, len(text.encode())), tuple(means))


def token_losses(
    model: PreTrainedModel, batch: Int[Tensor, "batch length"], context: int = 0, words: int = HEAD_WORDS
) -> Float[Tensor, "batch predicted"]:
    """Return the loss of each token behind the context and the first, in nats, float64.

    Cross entropy of the float32 logits z, log(sum_w exp(z_w)) - z_target, with the sum over `words` entries
    of the vocabulary at a time. The logits of an unknown family may be more than its head's output, so they
    are taken from the model, all at once.

    Raises:
        ValueError: the model is an encoder, which predicts no next token.
    """
    _check_causal(model)
    targets = batch[:, context + 1 :].flatten()
    whole: Any = model
    if model.config.model_type not in ARCHITECTURES:
        logits = whole(batch[:, :-1], use_cache=False).logits[:, context:].flatten(0, 1)
        return cross_entropy(logits.double(), targets, reduction="none").view(len(batch), -1)
    head, cap = whole.get_output_embeddings(), getattr(model.config, "final_logit_softcapping", None)
    # The head can cost as much as a block, so it runs only on predicted positions.
    hidden = whole.base_model(batch[:, :-1], use_cache=False).last_hidden_state[:, context:].flatten(0, 1)
    with weights_at_hand(head):
        hidden, targets = hidden.to(head.weight.device), targets.to(head.weight.device)
        right = torch.full(targets.shape, math.nan, device=hidden.device)
        log_sums = []
        for start in range(0, len(head.weight), words):
            part = slice(start, start + words)
            logits = linear(hidden, head.weight[part], None if head.bias is None else head.bias[part])
            logits = (logits if cap is None else logits.div_(cap).tanh_().mul_(cap)).float()
            here = ((targets >= start) & (targets < start + words)).nonzero()[:, 0]
            right[here] = logits[here, targets[here] - start]
            highest = logits.amax(1, keepdim=True)
            # In place; sums in float64, since the subtraction below would cost digits.
            total = logits.sub_(highest).exp_().sum(1)
            log_sums.append(highest[:, 0].double() + total.double().log())
    return (torch.stack(log_sums).logsumexp(0) - right).view(len(batch), -1)


def _check_causal(model: PreTrainedModel) -> None:
    """Raise ValueError if the model does not predict the next token."""
    name = model.config.model_type
    if name in ARCHITECTURES and not architecture(model.config).causal:
        raise ValueError(f"{name} is an encoder: it predicts no next token, so it has no such loss")


def _equal_lengths(pieces: Sequence[list[int]], batch_size: int) -> list[list[list[int]]]:
    """Return batches of windows of one length; only the last window can be shorter."""
    batches: list[list[list[int]]] = []
    for piece in pieces:
        if batches and len(batches[-1]) < batch_size and len(batches[-1][0]) == len(piece):
            batches[-1].append(piece)
        else:
            batches.append([piece])
    return batches
