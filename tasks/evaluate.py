"""Evaluate a checkpoint on text and reviews, cached units, and sum up and compare what was found."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task

from avss_core.evaluation.perplexity import language_modelling
from avss_core.evaluation.sentiment import balanced_demonstrations, sentiment_probabilities
from avss_core.metrics.comparison import differences_by_set, mean_with_interval
from avss_core.metrics.retention import retention_table
from avss_core.metrics.summary import summarise
from avss_core.models.batches import token_stream
from tasks.cache.loaded_model import model_at
from tasks.cache.units import unit
from tasks.data.rows import read_documents, read_prepared
from tasks.progress.steps import progress

LAYER_FIGURES = ("accuracy_at_50", "coverage_at_50", "ece", "brier")
"""What is told of the answers read out at each layer, as in figure 3 of the paper."""

_SENTIMENT_FIGURES = ("accuracy", "ece", "brier")


@unit("language-modelling")
def text_loss(
    model: Path, text: Path, *, dtype: str, device: str, tokens: int, window: int, stride: int | None
) -> dict[str, Any]:
    """Return the loss and the perplexities of the test text.

    With a stride below the window, so many tokens of each window are predicted, and those before them read.
    """
    network, tokenizer = model_at(model, dtype, device)
    stride = stride or window
    context = window - stride
    ids = token_stream(tokenizer, read_documents(text), tokens + context + 1)
    text_of = str(tokenizer.decode(ids[context + 1 :]))
    with progress("language modelling", max(0, len(ids) - 1 - context) // stride, "windows") as advance:
        found = language_modelling(network, ids, text_of, window=stride, context=context, progress=advance)
    return {
        "nll": found.nll_per_token,
        "tokens": found.tokens,
        "window": window,
        "stride": stride,
        "window_means": list(found.window_means),
        **found.perplexities(),
    }


@unit("sentiment")
def sentiment(
    model: Path,
    train: Path,
    test: Path,
    *,
    dtype: str,
    device: str,
    shots: int,
    first: int,
    last: int,
    batch_size: int,
) -> dict[str, Any]:
    """Return the predicted label of each review from `first` up to but without `last`, and the true one."""
    network, tokenizer = model_at(model, dtype, device)
    shown = balanced_demonstrations(read_prepared(train), shots)
    rows = read_prepared(test, first, last)
    with progress("sentiment", 2 * len(rows), "prompts") as advance:
        positive = sentiment_probabilities(
            network, tokenizer, shown, [row["text"] for row in rows], batch_size=batch_size, progress=advance
        )
    return {
        "answers": [
            {
                "id": row["id"],
                "prompt": hashlib.sha256(row["text"].encode()).hexdigest(),
                "predicted": int(chance > 0.5),
                "confidence": max(chance, 1 - chance),
                "label": row["label"],
                "correct": int(chance > 0.5) == row["label"],
            }
            for row, chance in zip(rows, positive, strict=True)
        ]
    }


@task(name="summarise-variant")
def summarise_variant(record: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """Return the figures of one model, each with n and a 95 % bootstrap interval.

    `record` holds what the units found: `sets` by name, `text` and `sentiment`.
    """
    reviews, text = record["sentiment"]["answers"], record["text"]
    felt = summarise(*_columns(reviews), seed)
    return {
        "sets": {name: _set_figures(found, seed) for name, found in record["sets"].items()},
        "language_modelling": {**text, "window_mean": mean_with_interval(text["window_means"], seed)},
        "sentiment": {
            "n": len(reviews),
            **{name: felt[name] for name in _SENTIMENT_FIGURES},
            "predicted_positive": mean_with_interval([row["predicted"] for row in reviews], seed)["value"],
        },
    }


@task(name="summarise-layers")
def summarise_layers(sets: Mapping[str, Mapping[str, Any]], *, seed: int) -> dict[str, Any]:
    """Return the figures of the answers read out at each layer.

    Returns:
        layers: their numbers; n: questions a set; sets: name -> figure -> one record a layer.
    """
    first = next(iter(sets.values()))
    summaries = {
        name: [summarise(layer["confidence"], layer["correct"], seed) for layer in found["layers"]]
        for name, found in sets.items()
    }
    return {
        "layers": [layer["layer"] for layer in first["layers"]],
        "n": {name: found["n"] for name, found in sets.items()},
        "judges": {name: found["judge"] for name, found in sets.items()},
        "sets": {
            name: {figure: [found[figure] for found in layers] for figure in LAYER_FIGURES}
            for name, layers in summaries.items()
        },
    }


@task(name="compare-variants")
def compare_variants(before: Mapping[str, Any], after: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """Return, for each set, after minus before on the same questions with paired intervals."""
    return differences_by_set(before["sets"], after["sets"], seed)


@task(name="retention")
def retained(before: Mapping[str, Any], after: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """Return what one model keeps of another one's figures, with paired intervals."""
    return retention_table(before, after, seed=seed)


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[bool]]:
    """Return confidence and correctness of answers."""
    return [row["confidence"] for row in rows], [row["correct"] for row in rows]


def _set_figures(found: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the figures of one set's answers."""
    rows = found["answers"]
    return {
        **summarise(*_columns(rows), seed),
        **{
            name: mean_with_interval([row["verdicts"][judge] for row in rows], seed)
            for name, judge in (("exact_match", "exact"), ("containment", "contains"))
        },
        "gold_nll": _mean_where_known([row["gold_nll"] for row in rows], seed),
        "preference_accuracy": _mean_where_known([row["preference"] for row in rows], seed),
        "answered": mean_with_interval([bool(row["answer"]) for row in rows], seed)["value"],
        "judge": found["judge"],
        "shots": found["shots"],
        "dropped_demonstrations": found["dropped_demonstrations"],
    }


def _mean_where_known(values: Sequence[float | None], seed: int) -> dict[str, Any]:
    """Return the mean of the values that are there with its interval, and their number."""
    known = [value for value in values if value is not None]
    return {"n": len(known), **mean_with_interval(known, seed)}
