"""Sentiment by likelihood: the label word that the model finds likelier after a review."""

from collections.abc import Sequence
from typing import Any

from scipy.special import expit
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.evaluation.likelihood import continuation_log_likelihoods
from avss_core.models.room import BatchSize
from avss_core.progress import Progress, no_progress

LABEL_WORDS = (" negative", " positive")
"""The continuation of each label, 0 and 1."""


Review = tuple[str, int]
"""A text and its label, 0 or 1."""


def sentiment_prompt(text: str) -> str:
    """Return the prompt of one review; the label word follows."""
    return f"Review: {text}\nSentiment:"


def sentiment_probabilities(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    demonstrations: Sequence[Review],
    texts: Sequence[str],
    *,
    batch_size: BatchSize = 32,
    progress: Progress = no_progress,
) -> list[float]:
    """Return the probability (0 to 1) that each text is positive, among the two labels.

    p = 1 / (1 + exp(-d)), with d the mean over both orders of the demonstrations of l+ - l-, and l the mean
    log-probability of a label word's tokens. The confidence of a predicted label is max(p, 1 - p).

    Our reading: the mean over tokens, not the sum, so that a label word of several tokens is at no
    disadvantage. And both orders, since a model leans towards the label that it read last: behind one order
    alone it judges that order as much as the review.

    Source: Zhao et al. 2021, arXiv 2102.09690 (recency bias); Lu et al. 2022, arXiv 2104.08786.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        demonstrations: (text, label), put in front of each review.
        texts: what to classify.
        batch_size: prompts a batch, two for each text.
        progress: called with the prompts of each finished batch: two for each text and order.
    """
    leanings = [
        _leanings(model, tokenizer, order, texts, batch_size, progress)
        for order in label_orders(demonstrations)
    ]
    return [float(expit(sum(both) / len(both))) for both in zip(*leanings, strict=True)]


def label_orders(demonstrations: Sequence[Review]) -> list[list[Review]]:
    """Return the demonstrations as they are, and with the two of each pair swapped unless that is equal.

    Example:
        >>> label_orders([("bah", 0), ("ok", 1), ("no", 0)])
        [[('bah', 0), ('ok', 1), ('no', 0)], [('ok', 1), ('bah', 0), ('no', 0)]]
    """
    given = list(demonstrations)
    swapped = list(given)
    for place in range(0, len(given) - 1, 2):
        swapped[place : place + 2] = given[place + 1], given[place]
    return [given] if swapped == given else [given, swapped]


def _leanings(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    demonstrations: Sequence[Review],
    texts: Sequence[str],
    batch_size: BatchSize,
    progress: Progress,
) -> list[float]:
    """Return l+ - l- of each text behind the demonstrations in their order."""
    shots = "".join(f"{sentiment_prompt(text)}{LABEL_WORDS[label]}\n\n" for text, label in demonstrations)
    pairs = [(shots + sentiment_prompt(text), word) for text in texts for word in LABEL_WORDS]
    scores = continuation_log_likelihoods(model, tokenizer, pairs, batch_size=batch_size, progress=progress)
    means = [total / tokens for total, tokens in scores]
    return [positive - negative for negative, positive in zip(means[::2], means[1::2], strict=True)]


def balanced_demonstrations(rows: Sequence[dict[str, Any]], shots: int) -> list[Review]:
    """Return up to `shots` rows as (text, label), labels in turn, in the order of the rows."""
    by_label = [[row for row in rows if row["label"] == label] for label in (0, 1)]
    turns = [row for pair in zip(*by_label, strict=False) for row in pair]
    return [(row["text"], row["label"]) for row in turns[:shots]]
