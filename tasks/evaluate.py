"""Evaluate a checkpoint on text and reviews (cached units); summarise answers and compare models."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from prefect import task

from avss_core.caching.loaded_model import model_at
from avss_core.data.rows import read_documents, read_prepared
from avss_core.display.steps import progress
from avss_core.evaluation.classification import (
    LinearHead,
    has_classes,
    positive_probabilities,
    text_means,
)
from avss_core.evaluation.masked import EVERY, hides_words, masked_modelling
from avss_core.evaluation.perplexity import language_modelling
from avss_core.evaluation.sentiment import balanced_demonstrations, label_orders, sentiment_probabilities
from avss_core.metrics.comparison import differences_by_set, mean_with_interval
from avss_core.metrics.retention import retention_table
from avss_core.metrics.summary import auroc_with_interval, summarise
from avss_core.models.batches import token_stream
from avss_core.models.room import BatchSize
from tasks.cache.units import unit
from tasks.records import (
    Changes,
    CountedEntry,
    EncoderFigures,
    LayerFigures,
    ModelFigures,
    Retention,
    SentimentFigures,
    SetFigures,
    TextLoss,
)

HEAD_REVIEWS = 2000
"""Train reviews, at most, to which a head is fitted where an encoder has none."""

LayerFigure = Literal["accuracy_at_50", "coverage_at_50", "ece", "brier"]

LAYER_FIGURES: tuple[LayerFigure, ...] = ("accuracy_at_50", "coverage_at_50", "ece", "brier")
"""Figures of the answers read out at each layer, as in figure 3 of the paper."""


@unit("language-modelling")
def text_loss(
    model: Path, text: Path, *, dtype: str, device: str, tokens: int, window: int, stride: int | None
) -> dict[str, Any]:
    """Return the loss and the perplexities of the test text.

    With a stride below the window, the last `stride` tokens of each window are predicted behind the others.
    """
    network, tokenizer = model_at(model, dtype, device)
    stride = stride or window
    context = window - stride
    ids = token_stream(tokenizer, read_documents(text), tokens + context + 1)
    text_of = str(tokenizer.decode(ids[context + 1 :]))
    with progress("language modelling", max(0, len(ids) - 1 - context) // stride, "windows") as advance:
        loss = language_modelling(network, ids, text_of, window=stride, context=context, progress=advance)
    return {
        "nll": loss.nll_per_token,
        "tokens": loss.tokens,
        "window": window,
        "stride": stride,
        "window_means": list(loss.window_means),
        **loss.perplexities(),
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
    batch_size: BatchSize,
) -> dict[str, Any]:
    """Return the predicted and the true label of each review from `first` up to, but without, `last`."""
    network, tokenizer = model_at(model, dtype, device)
    shown = balanced_demonstrations(read_prepared(train), shots)
    rows = read_prepared(test, first, last)
    with progress("sentiment", 2 * len(rows) * len(label_orders(shown)), "prompts") as advance:
        positive = sentiment_probabilities(
            network, tokenizer, shown, [row["text"] for row in rows], batch_size=batch_size, progress=advance
        )
    return {"answers": _review_answers(rows, positive)}


@task(name="summarise-variant")
def summarise_variant(record: Mapping[str, Any], *, seed: int) -> ModelFigures:
    """Return the figures of one model, each with n and a 95 % bootstrap interval.

    `record` holds what the units returned: `sets` by name, `text` and `sentiment`.
    """
    text: TextLoss = record["text"]
    return {
        "sets": {name: _set_figures(answered, seed) for name, answered in record["sets"].items()},
        "language_modelling": {**text, "window_mean": mean_with_interval(text["window_means"], seed)},
        "sentiment": _review_figures(record["sentiment"]["answers"], seed),
    }


@task(name="evaluate-encoder")
def evaluate_encoder(
    model: Path,
    prepared: Path,
    *,
    dtype: str,
    device: str,
    limit: int | None,
    tokens: int,
    window: int,
    batch_size: BatchSize,
    seed: int,
) -> EncoderFigures:
    """Return the figures of an encoder on reviews and, if it has a head over its words, on text.

    Args:
        model: a checkpoint folder.
        prepared: the folder of the prepared rows and text.
        dtype: of the model.
        device: of the model.
        limit: test reviews, at most; None for all.
        tokens: of the test text, at most.
        window: tokens a window.
        batch_size: texts a batch.
        seed: of the intervals.
    """
    network, tokenizer = model_at(model, dtype, device)
    head, said = None, "the checkpoint's own"
    if not has_classes(network):
        learnt = read_prepared(prepared / "sst2" / "train.jsonl", 0, HEAD_REVIEWS)
        with progress("head for reviews", len(learnt), "reviews") as advance:
            means = text_means(
                network, tokenizer, [row["text"] for row in learnt], batch_size=batch_size, progress=advance
            )
        head = LinearHead.fit(means, [row["label"] for row in learnt])
        said = f"linear, fitted to {head.rows:,} train reviews"
    rows = read_prepared(prepared / "sst2" / "validation.jsonl", 0, limit)
    with progress("sentiment", len(rows), "reviews") as advance:
        positive = positive_probabilities(
            network, tokenizer, [row["text"] for row in rows], head, batch_size=batch_size, progress=advance
        )
    figures: EncoderFigures = {
        "head": said,
        "sentiment": _review_figures(_review_answers(rows, positive), seed),
        "language_modelling": None,
    }
    if hides_words(network):
        documents = read_documents(prepared / "text" / "test.json")
        ids = token_stream(tokenizer, documents, tokens, encoder=True)
        text = str(tokenizer.decode(ids))
        with progress("hidden words", EVERY * -(-len(ids) // window), "windows") as advance:
            loss = masked_modelling(network, tokenizer, ids, text, window=window, progress=advance)
        means_of = list(loss.window_means)
        figures["language_modelling"] = {
            "nll": loss.nll_per_token,
            "tokens": loss.tokens,
            "window": window,
            "stride": window,
            "window_means": means_of,
            "window_mean": mean_with_interval(means_of, seed),
            **loss.perplexities(),
        }  # type: ignore[typeddict-item]
    return figures


def _review_answers(rows: Sequence[Mapping[str, Any]], positive: Sequence[float]) -> list[dict[str, Any]]:
    """Return the predicted and the true label of each review."""
    return [
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


def _review_figures(reviews: Sequence[Mapping[str, Any]], seed: int) -> SentimentFigures:
    """Return the figures of a model's answers to reviews."""
    classified = summarise(*_columns(reviews), seed)
    positive = [row["confidence"] if row["predicted"] else 1 - row["confidence"] for row in reviews]
    return {
        "n": len(reviews),
        "accuracy": classified["accuracy"],
        "auroc": auroc_with_interval(positive, [row["label"] for row in reviews], seed),
        "ece": classified["ece"],
        "brier": classified["brier"],
        "predicted_positive": mean_with_interval([row["predicted"] for row in reviews], seed)["value"],
    }


@task(name="summarise-layers")
def summarise_layers(sets: Mapping[str, Mapping[str, Any]], *, seed: int) -> LayerFigures:
    """Return the figures of the answers read out at each layer."""
    first = next(iter(sets.values()))
    summaries = {
        name: [summarise(layer["confidence"], layer["correct"], seed) for layer in answered["layers"]]
        for name, answered in sets.items()
    }
    return {
        "layers": [layer["layer"] for layer in first["layers"]],
        "n": {name: answered["n"] for name, answered in sets.items()},
        "judges": {name: answered["judge"] for name, answered in sets.items()},
        "sets": {
            name: {figure: [layer[figure] for layer in layers] for figure in LAYER_FIGURES}
            for name, layers in summaries.items()
        },
    }


@task(name="compare-variants")
def compare_variants(before: Mapping[str, Any], after: Mapping[str, Any], *, seed: int) -> dict[str, Changes]:
    """Return the change of every figure from one model to another, by question set."""
    return differences_by_set(before["sets"], after["sets"], seed)


@task(name="retention")
def retained(before: Mapping[str, Any], after: Mapping[str, Any], *, seed: int) -> Retention:
    """Return what one model keeps of another's figures, with paired intervals."""
    return retention_table(before, after, seed=seed)


def _columns(rows: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[bool]]:
    """Return confidence and correctness of answers."""
    return [row["confidence"] for row in rows], [row["correct"] for row in rows]


def _set_figures(answered: Mapping[str, Any], seed: int) -> SetFigures:
    """Return the figures of one set's answers."""
    rows = answered["answers"]
    exact, contains = ([row["verdicts"][judge] for row in rows] for judge in ("exact", "contains"))
    return {
        **summarise(*_columns(rows), seed),
        "exact_match": mean_with_interval(exact, seed),
        "containment": mean_with_interval(contains, seed),
        "gold_nll": _mean_where_known([row["gold_nll"] for row in rows], seed),
        "preference_accuracy": _mean_where_known([row["preference"] for row in rows], seed),
        "answered": mean_with_interval([bool(row["answer"]) for row in rows], seed)["value"],
        "judge": answered["judge"],
        "shots": answered["shots"],
        "dropped_demonstrations": answered["dropped_demonstrations"],
    }


def _mean_where_known(values: Sequence[float | None], seed: int) -> CountedEntry:
    """Return the mean of the values that are not None with its interval, and their number."""
    known = [value for value in values if value is not None]
    return {"n": len(known), **mean_with_interval(known, seed)}
