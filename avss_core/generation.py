"""Ask questions few-shot: the shared prompt is computed once, answers are greedy and carry a confidence."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from avss_core.batches import Batch, pad

Progress = Callable[[int], None]
"""Called with the number of samples just finished."""


def no_progress(_done: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Answer:
    """A generated answer and the geometric mean of its tokens' probabilities.

    Our reading: an empty answer has no token of its own, so its confidence is taken over all that was
    generated, the token that ended it included.
    """

    text: str
    confidence: float


def question_prompt(question: str) -> str:
    """Return the prompt of one question; the answer follows after a space."""
    return f"Question: {question}\nAnswer:"


def few_shot_prompt(demonstrations: Sequence[tuple[str, str]], question: str) -> str:
    """Return demonstrations of (question, answer) followed by one question."""
    shots = [f"{question_prompt(asked)} {answer}\n\n" for asked, answer in demonstrations]
    return "".join(shots) + question_prompt(question)


def answer_questions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 16,
    batch_size: int = 32,
    progress: Progress = no_progress,
) -> list[Answer]:
    """Return the greedy answer to each prompt, in the order of the prompts.

    Generation stops at a newline or at the end of text. The tokens that all prompts share are run once and
    their keys and values are repeated; batches hold prompts of similar length; a finished sequence leaves its
    batch. The answers do not depend on `batch_size` but for rounding.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        prompts: whole prompts, demonstrations included.
        max_new_tokens: longest answer.
        batch_size: prompts a batch.
        progress: told of each finished batch.

    Raises:
        ValueError: a prompt and its answer do not fit the model's context, there is no room for an answer, or
            a logit is not a number.
    """
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; an answer needs room for at least 1 token")
    if not prompts:
        return []
    encoded = [tokenizer(prompt, verbose=False).input_ids for prompt in prompts]
    _check_room(model, encoded, max_new_tokens)
    shared = _shared(model, encoded, max_new_tokens)
    prefix = _prefix_cache(model, encoded[0][:shared])
    ends = _end_tokens(model, tokenizer)
    answers: list[Answer | None] = [None] * len(prompts)
    for chosen in _by_length(encoded, batch_size):
        batch = pad([encoded[index][shared:] for index in chosen], left=True)
        found = _greedy(model, tokenizer, batch, prefix, ends, max_new_tokens)
        for index, answer in zip(chosen, found, strict=True):
            answers[index] = answer
        progress(len(chosen))
    return [answer for answer in answers if answer is not None]


def continuation_log_likelihoods(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[tuple[str, str]],
    *,
    batch_size: int = 32,
    progress: Progress = no_progress,
) -> list[tuple[float, int]]:
    """Return, for each (prompt, continuation), the summed log-probability of the continuation and its tokens.

    The pieces add up to the whole text: the continuation's tokens are those of prompt + continuation after
    the part that both encodings share.

    Raises:
        ValueError: a text does not fit the model's context, a continuation adds no token, or a logit is not a
            number.
    """
    if not pairs:
        return []
    encoded = [tokenizer(prompt + rest, verbose=False).input_ids for prompt, rest in pairs]
    starts = []
    for (prompt, rest), whole in zip(pairs, encoded, strict=True):
        alone = tokenizer(prompt, verbose=False).input_ids
        start = min(shared_prefix([alone, whole], keep=0), len(whole) - 1)
        if not rest or start < 1:
            raise ValueError(f"the continuation {rest!r} of {prompt[-40:]!r} adds no token to score")
        starts.append(start)
    _check_room(model, encoded, 0)
    # At least the token before each continuation is run again, since its logits predict the first one.
    shared = min(_shared(model, encoded, 0), min(starts) - 1)
    prefix = _prefix_cache(model, encoded[0][:shared])
    scores: list[tuple[float, int]] = [(math.nan, 0)] * len(pairs)
    for chosen in _by_length(encoded, batch_size):
        # Padding on the left puts the continuations at the end, so that only their positions need logits.
        batch = pad([encoded[index][shared:] for index in chosen], left=True)
        tokens = [len(encoded[index]) - starts[index] for index in chosen]
        for index, score in zip(chosen, _score(model, batch, prefix, tokens), strict=True):
            scores[index] = score
        progress(len(chosen))
    return scores


def shared_prefix(sequences: Sequence[Sequence[int]], keep: int = 1) -> int:
    """Return how many leading tokens all sequences share, with at least `keep` tokens left in each."""
    ordered = sorted(map(list, sequences))
    pairs = zip(ordered[0], ordered[-1], strict=False)
    differs = (place for place, (first, last) in enumerate(pairs) if first != last)
    room = min(map(len, ordered)) - keep
    return max(0, min(room, next(differs, room)))


def _by_length(encoded: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Yield the indices of prompts of similar length together."""
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def _check_room(model: PreTrainedModel, encoded: Sequence[Sequence[int]], new_tokens: int) -> None:
    """Raise where a sequence does not fit the model's context."""
    room = getattr(model.config, "max_position_embeddings", None)
    longest = max(map(len, encoded)) + new_tokens
    if room is not None and longest > room:
        raise ValueError(
            f"a prompt of {longest - new_tokens} tokens and {new_tokens} new ones do not fit the model's "
            f"{room} positions; use fewer demonstrations (evaluate.shots)"
        )


def _shared(model: PreTrainedModel, encoded: Sequence[Sequence[int]], new_tokens: int) -> int:
    """Return how many leading tokens are run once for all sequences.

    None where a layer's attention window is shorter than a sequence: the window counts padded places too, so
    padding must not stand between a prefix and its question.
    """
    length = max(map(len, encoded)) + new_tokens
    slides = any(0 < layer.get_max_length() < length for layer in DynamicCache(config=model.config).layers)
    # Those of GPT-Neo are masks in its layers, which the cache does not know of.
    slides = slides or 0 < (getattr(model.config, "window_size", None) or 0) < length
    return 0 if slides else shared_prefix(encoded)


def _prefix_cache(model: PreTrainedModel, ids: Sequence[int]) -> DynamicCache:
    """Return the keys and values of the shared prompt (an empty cache for no token)."""
    cache = DynamicCache(config=model.config)
    if ids:
        with torch.inference_mode():
            model(torch.tensor([ids], device=model.device), cache=cache, use_cache=True, logits_to_keep=1)
    return cache


def _start(batch: Batch, prefix: DynamicCache) -> tuple[DynamicCache, Bool[Tensor, "batch all"]]:
    """Return the prefix repeated for each row, and the mask over prefix and batch."""
    rows, length = len(batch.ids), prefix.get_seq_length()
    cache = copy.deepcopy(prefix)
    if length:
        cache.batch_repeat_interleave(rows)
    return cache, torch.cat([torch.ones(rows, length, dtype=torch.bool), batch.attention], 1)


def _forward(
    model: PreTrainedModel,
    ids: Int[Tensor, "batch seq"],
    mask: Bool[Tensor, "batch all"],
    cache: DynamicCache,
    keep: int,
) -> Float[Tensor, "batch kept vocab"]:
    """Return float32 log-probabilities at the last `keep` positions (0 for all)."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    device = model.device
    logits: Tensor = model(
        ids.to(device),
        attention_mask=mask.to(device).long(),
        position_ids=positions.to(device),
        cache=cache,
        use_cache=True,
        logits_to_keep=keep,
    ).logits
    chances = logits.float().log_softmax(-1).cpu()
    # One value a position tells, since log_softmax spreads a NaN over its row.
    if chances[..., 0].isnan().any():
        raise ValueError("a logit is not a finite number; load the model in float32 or check its weights")
    return chances


@torch.inference_mode()
def _greedy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: Batch,
    prefix: DynamicCache,
    ends: frozenset[int],
    max_new_tokens: int,
) -> list[Answer]:
    """Return the greedy answers of one left-padded batch."""
    cache, mask = _start(batch, prefix)
    tokens: list[list[int]] = [[] for _ in batch.ids]
    chances: list[list[float]] = [[] for _ in batch.ids]
    alive, step = list(range(len(batch.ids))), batch.ids
    for _ in range(max_new_tokens):
        best = _forward(model, step, mask, cache, keep=1)[:, -1].max(-1)
        going = []
        for place, row in enumerate(alive):
            token = int(best.indices[place])
            tokens[row].append(token)
            chances[row].append(float(best.values[place]))
            if token not in ends and "\n" not in tokenizer.decode([token]):
                going.append(place)
        if not going:
            break
        if len(going) < len(alive):
            cache.batch_select_indices(torch.tensor(going, device=model.device))
        alive = [alive[place] for place in going]
        step = best.indices[going].unsqueeze(1)
        mask = torch.cat([mask[going], torch.ones(len(going), 1, dtype=torch.bool)], 1)
    return [_answer(tokenizer, t, c, ends) for t, c in zip(tokens, chances, strict=True)]


def _answer(
    tokenizer: PreTrainedTokenizerBase, tokens: list[int], chances: list[float], ends: frozenset[int]
) -> Answer:
    """Return the text before the first newline and the confidence over exactly its tokens."""
    last = "" if tokens[-1] in ends else str(tokenizer.decode([tokens[-1]]))
    ended = tokens[-1] in ends or "\n" in last
    # A token such as ".\n" belongs to the answer with the part before its newline.
    used = len(tokens) - int(ended and not last.split("\n")[0].strip())
    text = str(tokenizer.decode(tokens[:used], skip_special_tokens=True)).split("\n")[0].strip()
    scored = chances[:used] if text else chances
    return Answer(text, min(1.0, math.exp(sum(scored) / len(scored))))


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the ids that end a text, from the generation settings and the tokenizer."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ends = configured if isinstance(configured, list) else [configured]
    return frozenset(int(i) for i in [*ends, tokenizer.eos_token_id] if i is not None)


@torch.inference_mode()
def _score(
    model: PreTrainedModel, batch: Batch, prefix: DynamicCache, tokens: Sequence[int]
) -> list[tuple[float, int]]:
    """Return the log-likelihood of each row's last tokens, with their number, for a left-padded batch."""
    cache, mask = _start(batch, prefix)
    longest = max(tokens)
    chances = _forward(model, batch.ids, mask, cache, longest + 1)[:, :-1]
    picked = chances.gather(-1, batch.ids[:, -longest:].unsqueeze(-1)).squeeze(-1).double()
    return [(float(row[-count:].sum()), count) for row, count in zip(picked, tokens, strict=True)]
