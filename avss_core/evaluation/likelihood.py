"""The likelihood of given answers: mean log-probabilities, gold loss and preference."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.evaluation.shared_prompt import Rows, SharedPrompt, check_room, shared_prefix
from avss_core.models.architectures import context_length
from avss_core.models.batches import Batch, by_length, pad
from avss_core.models.encoding import encode
from avss_core.models.room import BatchSize, FittingBatches
from avss_core.progress import Progress, no_progress

_PIECE = 16
"""Tokens of given answers whose logits are held at a time: each takes a whole vocabulary of memory."""


def continuation_log_likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    *,
    batch_size: BatchSize = 32,
    progress: Progress = no_progress,
) -> list[tuple[float, int]]:
    """Return, for each (prompt, continuation), the continuation's log-probability and its number of tokens.

    The continuation's tokens are those of prompt + continuation behind the part that both encodings share.

    Raises:
        ValueError: a text does not fit the model's context, a continuation adds no token, or a logit is not a
            number.
    """
    if not pairs:
        return []
    encoded, starts = zip(*(split_continuation(tokenizer, *pair) for pair in pairs), strict=True)
    check_room(model, encoded, 0)
    # The last token predicts nothing here, so texts that differ only in it are read once.
    pairs_of: dict[tuple[int, ...], list[int]] = {}
    for index, ids in enumerate(encoded):
        pairs_of.setdefault(tuple(ids[:-1]), []).append(index)
    read = list(pairs_of)
    # At least the token before each continuation runs again, since its logits predict the first one.
    shared = SharedPrompt(model, read, at_most=min(starts) - 1)
    scores: list[tuple[float, int]] = [(math.nan, 0)] * len(pairs)
    batches = FittingBatches(model, read, batch_size)
    for chosen in batches:
        with batches.tried():
            # Padding on the left puts the continuations at the end, so that only their positions need logits.
            batch = pad([read[place][shared.length :] for place in chosen], left=True)
            scored = [(row, index) for row, place in enumerate(chosen) for index in pairs_of[read[place]]]
            tokens = [encoded[index][starts[index] :] for _, index in scored]
            sums = _score(shared, batch, [row for row, _ in scored], tokens)
            for (_, index), score in zip(scored, sums, strict=True):
                scores[index] = score
            progress(len(scored))
    return scores


def split_continuation(
    tokenizer: PreTrainedTokenizerBase, prompt: str, continuation: str
) -> tuple[list[int], int]:
    """Return the token ids of prompt + continuation, and where the continuation starts.

    Raises:
        ValueError: the continuation adds no token, or nothing stands before it.
    """
    whole = encode(tokenizer, prompt + continuation)
    start = min(shared_prefix([encode(tokenizer, prompt), whole], keep=0), len(whole) - 1)
    if not continuation or start < 1:
        raise ValueError(f"the continuation {continuation!r} of {prompt[-40:]!r} adds no token to score")
    return whole, start


def added_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, given: Sequence[str]
) -> list[list[int]]:
    """Return the token ids that each given text adds to a prompt.

    There are no ids if it is too long for the model's context, or if its start and the prompt's end are one
    token, so that the prompt cannot be read first: `score_the_rest` handles both.

    Raises:
        ValueError: a given text adds no token.
    """
    room, asked = context_length(model.config) or math.inf, len(encode(tokenizer, prompt))
    split = [split_continuation(tokenizer, prompt, text) for text in given]
    return [whole[start:] if start == asked and len(whole) <= room else [] for whole, start in split]


def score_the_rest(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    given: Sequence[Sequence[str]],
    scores: Sequence[Sequence[float]],
) -> list[tuple[float | None, ...]]:
    """Return the scores of given texts with each nan replaced: by None if the text is too long."""
    room = context_length(model.config) or math.inf
    rest = [
        (row, place)
        for row, own in enumerate(scores)
        for place, score in enumerate(own)
        if math.isnan(score) and len(encode(tokenizer, prompts[row] + given[row][place])) <= room
    ]
    pairs = [(prompts[row], given[row][place]) for row, place in rest]
    sums = continuation_log_likelihoods(model, tokenizer, pairs)
    means = {at: total / tokens for at, (total, tokens) in zip(rest, sums, strict=True)}
    return [
        tuple(means.get((row, place)) if math.isnan(score) else score for place, score in enumerate(own))
        for row, own in enumerate(scores)
    ]


def given_scores(
    rows: Rows, last: Float[Tensor, "batch vocab"], given: Sequence[Sequence[Sequence[int]]]
) -> list[list[float]]:
    """Return the mean log-probability a token of each row's given continuations.

    Args:
        rows: rows that have read the prompts; they stay as they are.
        last: logits at the end of the prompts, which predict the first tokens.
        given: the token ids of each row's continuations, any number a row; one without a token scores nan.
    """
    scores = [[math.nan] * len(own) for own in given]
    pairs = [(row, place) for row, own in enumerate(given) for place, ids in enumerate(own) if ids]
    # Continuations of one length go together, whichever rows they follow, so that little is padded.
    for group in by_length([given[row][place] for row, place in pairs], len(given)):
        chosen = [pairs[index] for index in group]
        means = _means(rows, last, [row for row, _ in chosen], [given[row][place] for row, place in chosen])
        for (row, place), mean in zip(chosen, means, strict=True):
            scores[row][place] = mean
    return scores


def gold_nll(accepted: Sequence[float]) -> float | None:
    """Return the loss (nats a token) of the likeliest accepted answer, None if there is none.

    Our reading: aliases name one answer, so the best of them shows how well the model knows it.

    Example:
        >>> gold_nll([-2.0, -1.5])
        1.5
    """
    return -max(accepted) if accepted else None


def preference_margin(accepted: Sequence[float], wrong: Sequence[float]) -> float | None:
    """Return by how much the best accepted answer's mean log-probability exceeds the best wrong one's (nats).

    Our reading: above 0 the model prefers the truth to every wrong answer. None if either side is empty.

    Example:
        >>> preference_margin([-1.0], [-1.5, -3.0])
        0.5
    """
    return max(accepted) - max(wrong) if accepted and wrong else None


def normalisers(logits: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows"]:
    """Return log-sum-exp of the logits, which turns a logit into a log-probability.

    Raises:
        ValueError: a logit is not a number.
    """
    totals = logits.logsumexp(-1)
    # One value a position is enough: a sum with a NaN or an infinity is not finite.
    if not totals.isfinite().all():
        raise ValueError("a logit is not a finite number; load the model in float32 or check its weights")
    return totals


def _chances(
    logits: Float[Tensor, "batch seq vocab"], ids: Int[Tensor, "batch seq"]
) -> Float[Tensor, "batch seq"]:
    """Return the float64 log-probability of each token, on the CPU."""
    picked = logits.gather(-1, ids.to(logits.device).unsqueeze(-1)).squeeze(-1)
    return (picked - normalisers(logits)).double().cpu()


@torch.inference_mode()
def _score(
    shared: SharedPrompt, batch: Batch, rows: Sequence[int], tokens: Sequence[Sequence[int]]
) -> list[tuple[float, int]]:
    """Return the log-likelihood and the number of the tokens that the ends of rows predict.

    Args:
        shared: the prompt that the rows of the batch share.
        batch: left-padded texts up to the last token that predicts.
        rows: for each continuation, the row that predicts it.
        tokens: for each continuation, its token ids.
    """
    longest = max(map(len, tokens))
    logits = shared.rows(batch).feed(batch.ids, batch.attention, longest)
    ids, places = pad(tokens, left=True).ids.to(logits.device), torch.tensor(rows, device=logits.device)
    picked = logits[places.unsqueeze(1), torch.arange(longest, device=logits.device), ids]
    chances = (picked - normalisers(logits)[places]).double().cpu()
    return [(float(row[-len(own) :].sum()), len(own)) for row, own in zip(chances, tokens, strict=True)]


@torch.inference_mode()
def _means(
    rows: Rows, last: Float[Tensor, "batch vocab"], places: Sequence[int], ids: Sequence[Sequence[int]]
) -> list[float]:
    """Return the mean log-probability a token of continuations, each of the row at its place."""
    batch = pad(ids)
    length = batch.ids.shape[1]
    pieces = [_chances(last[list(places)].unsqueeze(1), batch.ids[:, :1])]
    if length > 1:
        copies = rows.copies(places, length - 1)
        for start in range(0, length - 1, _PIECE):
            stop = min(start + _PIECE, length - 1)
            # The mask leaves out padding, whose positions could exceed the model's last one.
            logits = copies.feed(batch.ids[:, start:stop], batch.attention[:, start:stop], stop - start)
            pieces.append(_chances(logits, batch.ids[:, start + 1 : stop + 1]))
    chances = torch.cat(pieces, 1).masked_fill(~batch.attention, 0)
    return (chances.sum(1) / batch.attention.sum(1)).tolist()
