"""Ask questions: greedy or sampled answers with a confidence, and how likely given answers are."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.evaluation.likelihood import added_tokens, given_scores, normalisers, score_the_rest
from avss_core.evaluation.sampling import Sampling, TokenNoise
from avss_core.evaluation.shared_prompt import Rows, SharedPrompt, check_room
from avss_core.models.batches import pad
from avss_core.models.encoding import encode
from avss_core.models.room import BatchSize, FittingBatches
from avss_core.progress import Progress, no_progress


@dataclass(frozen=True)
class Answer:
    """A generated answer and the geometric mean of its tokens' probabilities.

    Our reading: an empty answer has no token of its own, so its confidence is taken over all generated
    tokens, the one that ended it included.
    """

    text: str
    confidence: float
    given: tuple[float | None, ...] = ()
    """Mean log-probability a token of each given continuation; None if it does not fit the context."""


Pick = Callable[[Float[Tensor, "rows vocab"], Sequence[int]], Int[Tensor, " rows"]]
"""Chooses the next token of each row, given the logits and the rows' places in the batch."""


def likeliest(last: Float[Tensor, "rows vocab"], _alive: Sequence[int]) -> Int[Tensor, " rows"]:
    """Return the token with the largest logit of each row."""
    return last.max(-1).indices


def answer_questions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    given: Sequence[Sequence[str]] | None = None,
    sampling: Sampling | None = None,
    max_new_tokens: int = 16,
    batch_size: BatchSize = 32,
    progress: Progress = no_progress,
) -> list[Answer]:
    """Return the answer to each prompt, greedy or drawn, in the order of the prompts.

    Generation stops at a newline or at the end of text. The tokens that all prompts share run once; batches
    hold prompts of similar length; a finished sequence leaves its batch; given continuations are scored on
    the keys and values that the answer starts from. The answers depend on `batch_size` only to rounding.
    Confidences are those at temperature 1, for drawn answers too.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        prompts: whole prompts, demonstrations included.
        given: for each prompt, texts that could follow it, with any space in front.
        sampling: how tokens are drawn; None takes the likeliest one.
        max_new_tokens: longest answer.
        batch_size: prompts a batch.
        progress: called with the prompts of each finished batch.

    Raises:
        ValueError: a prompt and its answer do not fit the model's context, there is no room for an answer, a
            given continuation adds no token, a logit is not a number, or seeds are missing or too many.
    """
    encoded = encode_prompts(model, tokenizer, prompts, max_new_tokens)
    if sampling is not None and len(sampling.seeds) != len(prompts):
        raise ValueError(f"{len(prompts)} prompts and {len(sampling.seeds)} seeds; each prompt needs one")
    if not prompts:
        return []
    texts = given or [()] * len(prompts)
    added = [added_tokens(model, tokenizer, *pair) for pair in zip(prompts, texts, strict=True)]
    spare = max([max_new_tokens, *(len(ids) for own in added for ids in own)])
    shared = SharedPrompt(model, encoded, new_tokens=spare)
    ends = end_test(model, tokenizer)
    answers = [Answer("", math.nan)] * len(prompts)
    scores: list[list[float]] = [[]] * len(prompts)
    batches = FittingBatches(model, encoded, batch_size)
    for chosen in batches:
        with batches.tried():
            batch = pad([encoded[index][shared.length :] for index in chosen], left=True)
            with torch.inference_mode():
                rows = shared.rows(batch)
                last = rows.feed(batch.ids, batch.attention, keep=1)[:, -1]
                scored = given_scores(rows, last, [added[index] for index in chosen])
                written = continued(tokenizer, rows, last, ends, max_new_tokens, _picker(sampling, chosen))
            for index, answer, own in zip(chosen, written, scored, strict=True):
                answers[index], scores[index] = answer, own
            progress(len(chosen))
    known = score_the_rest(model, tokenizer, prompts, texts, scores)
    return [replace(answer, given=own) for answer, own in zip(answers, known, strict=True)]


def encode_prompts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], max_new_tokens: int
) -> list[list[int]]:
    """Return the token ids of prompts.

    Raises:
        ValueError: a prompt and its answer do not fit the model's context, or there is no room for an answer.
    """
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; an answer needs room for at least 1 token")
    encoded = [encode(tokenizer, prompt) for prompt in prompts]
    check_room(model, encoded, max_new_tokens)
    return encoded


def _picker(sampling: Sampling | None, chosen: Sequence[int]) -> Pick:
    """Return the function that picks tokens for a batch of prompts, given by their indices."""
    if sampling is None:
        return likeliest
    return TokenNoise(sampling.temperature, [sampling.seeds[index] for index in chosen]).pick


def continued(
    tokenizer: PreTrainedTokenizerBase,
    rows: Rows,
    last: Float[Tensor, "batch vocab"],
    ends: Callable[[int], bool],
    max_new_tokens: int,
    pick: Pick = likeliest,
) -> list[Answer]:
    """Return the answers of rows that have read their prompts; `last` predicts the first token."""
    tokens: list[list[int]] = [[] for _ in last]
    chances: list[list[float]] = [[] for _ in last]
    alive = list(range(len(last)))
    for step in range(max_new_tokens):
        picked = pick(last, alive).to(last.device)
        sure = (last.gather(-1, picked.unsqueeze(-1)).squeeze(-1) - normalisers(last)).tolist()
        going = []
        for place, (row, token) in enumerate(zip(alive, picked.tolist(), strict=True)):
            tokens[row].append(token)
            chances[row].append(sure[place])
            if not ends(token):
                going.append(place)
        if not going or step == max_new_tokens - 1:
            break
        if len(going) < len(alive):
            rows.keep(going)
        alive = [alive[place] for place in going]
        ids = picked[going].unsqueeze(1).cpu()
        last = rows.feed(ids, torch.ones_like(ids, dtype=torch.bool), keep=1)[:, -1]
    return [_answer(tokenizer, *row, ends) for row in zip(tokens, chances, strict=True)]


def _answer(
    tokenizer: PreTrainedTokenizerBase, tokens: list[int], chances: list[float], ends: Callable[[int], bool]
) -> Answer:
    """Return the text before the first newline, with the confidence over exactly its tokens."""
    last = str(tokenizer.decode(tokens[-1:]))
    if ends(tokens[-1]) and "\n" not in last:
        last = ""
    # A token such as ".\n" belongs to the answer with the part before its newline.
    used = len(tokens) - int(ends(tokens[-1]) and not last.split("\n")[0].strip())
    text = str(tokenizer.decode(tokens[:used], skip_special_tokens=True)).split("\n")[0].strip()
    scored = chances[:used] if text else chances
    return Answer(text, min(1.0, math.exp(sum(scored) / len(scored))))


def end_test(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Callable[[int], bool]:
    """Return a function that tells whether a token ends an answer: end of text or turn, or a newline."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ends = {*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id}
    return functools.cache(lambda token: token in ends or "\n" in str(tokenizer.decode([token])))
