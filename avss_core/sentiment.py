"""Sentiment by likelihood: which label word does the model find more likely after a review."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.likelihood import continuation_log_likelihoods
from avss_core.progress import Progress, no_progress

LABEL_WORDS = (" negative", " positive")
"""The continuation of each label, 0 and 1."""


def sentiment_prompt(text: str) -> str:
    """Return the prompt of one review; the label word follows."""
    return f"Review: {text}\nSentiment:"


def predict_sentiment(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    demonstrations: Sequence[tuple[str, int]],
    texts: Sequence[str],
    *,
    batch_size: int = 32,
    progress: Progress = no_progress,
) -> list[int]:
    """Return the more likely label of each text, by the mean log-probability of its label word's tokens.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        demonstrations: (text, label), put in front of each review.
        texts: what to classify.
        batch_size: prompts a batch, two for each text.
        progress: told of each finished batch's prompts.
    """
    shots = "".join(f"{sentiment_prompt(text)}{LABEL_WORDS[label]}\n\n" for text, label in demonstrations)
    pairs = [(shots + sentiment_prompt(text), word) for text in texts for word in LABEL_WORDS]
    scores = continuation_log_likelihoods(model, tokenizer, pairs, batch_size=batch_size, progress=progress)
    means = [total / tokens for total, tokens in scores]
    return [int(positive > negative) for negative, positive in zip(means[::2], means[1::2], strict=True)]


def balanced_demonstrations(rows: Sequence[dict[str, Any]], shots: int) -> list[tuple[str, int]]:
    """Return up to `shots` rows as (text, label), labels in turn, in the order of the rows."""
    by_label = [[row for row in rows if row["label"] == label] for label in (0, 1)]
    turns = [row for pair in zip(*by_label, strict=False) for row in pair]
    return [(row["text"], row["label"]) for row in turns[:shots]]
