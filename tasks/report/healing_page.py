"""What the report tells of healing: its numbers on the page, and those of the summary."""

from collections.abc import Mapping
from typing import Any

from tasks.report.words.wording import retentions


def shown_of(healing: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page needs besides the record, nothing where nothing was healed.

    Returns:
        retentions_after: what is kept, by name; healed_best: the validation whose model is kept;
        healing_short: whether there was less text than asked for.
    """
    if not healing["enabled"]:
        return {}
    training = healing["training"]
    text = training["train"]["text"]
    return {
        "retentions_after": dict(retentions(healing["retention"]["after"])),
        "healed_best": min(training["history"], key=lambda epoch: epoch["validation_loss"]),
        "healing_short": text["tokens"] < text["wanted"],
    }


def summary_of(healing: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what healing took and what is kept of the dense model before and after, None without it.

    Returns:
        tokens, validation_loss (nats a token) and kept, before and after: generation (mean over the sets),
        sentiment, sentiment_over_chance and nll.
    """
    if not healing["enabled"]:
        return None
    training = healing["training"]
    return {
        "tokens": training["tokens"],
        "validation_loss": min(epoch["validation_loss"] for epoch in training["history"]),
        "kept": {when: _kept(table) for when, table in healing["retention"].items()},
    }


def _kept(table: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the values of a table of retention."""
    sentiment = table["classification"]["sentiment"]
    return {
        "generation": table["generation"]["mean"]["value"],
        "sentiment": sentiment["retention"]["value"],
        "sentiment_over_chance": sentiment["retention_over_chance"]["value"],
        "nll": table["language_modelling"]["nll_retention"]["value"],
    }
