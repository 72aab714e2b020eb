"""Whether a model prefers the truth: the likelihood of accepted and of wrong answers to questions."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.evaluation.likelihood import preference_margin, split_continuation
from avss_core.evaluation.perplexity import token_losses
from avss_core.evaluation.prompts import question_prompt
from avss_core.models.architectures import context_length
from avss_core.models.placement import input_device

ANSWERS = 2
"""Accepted answers of a question that are read, and as many wrong ones."""


def askable(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """Return the first rows that have an accepted and a wrong answer, `count` at most."""
    return [row for row in rows if row["answers"] and row["wrong_answers"]][:count]


@torch.inference_mode()
def preferences(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]]
) -> list[bool]:
    """Return for each question whether the likeliest accepted answer is likelier than every wrong one.

    Asked without demonstrations, since the model may be a view that cannot keep what it has read. Likelihood
    is the mean log-probability a token, as in `avss_core.evaluation.likelihood.preference_margin`; the first
    `ANSWERS` answers of either kind count.

    Args:
        model: a causal language model or a view of one; stays as it is.
        tokenizer: of the model.
        rows: `question`, `answers` and `wrong_answers`, as `askable` returns them.

    Raises:
        ValueError: a question with its answer does not fit the model's context.
    """
    said = []
    for row in rows:
        accepted, wrong = (_means(model, tokenizer, row, kind) for kind in ("answers", "wrong_answers"))
        said.append((preference_margin(accepted, wrong) or 0) > 0)
    return said


def _means(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, row: Mapping[str, Any], kind: str
) -> list[float]:
    """Return the mean log-probability a token of a question's answers of one kind."""
    prompt, room = question_prompt(row["question"]), context_length(model.config)
    means = []
    for answer in row[kind][:ANSWERS]:
        ids, start = split_continuation(tokenizer, prompt, f" {answer.strip()}")
        if room is not None and len(ids) - 1 > room:
            raise ValueError(
                f"question {row['id']!r} with its answer has {len(ids)} tokens and does not fit the model's "
                f"{room} positions; leave it out"
            )
        losses = token_losses(model, torch.tensor([ids], device=input_device(model)), context=start - 1)
        means.append(-float(losses.mean()))
    return means
