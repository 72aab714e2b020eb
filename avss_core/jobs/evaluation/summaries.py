"""What the answers and losses of a model add up to: figures, each with n and a 95 % interval."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from avss_core.jobs.evaluation.evaluation_records import (
    LayerFigures,
    ModelFigures,
    SentimentFigures,
    SetFigures,
    TextLoss,
)
from avss_core.metrics.comparison import mean_with_interval
from avss_core.metrics.records import CountedEntry
from avss_core.metrics.summary import auroc_with_interval, summarise

LayerFigure = Literal["accuracy_at_50", "coverage_at_50", "ece", "brier"]

LAYER_FIGURES: tuple[LayerFigure, ...] = ("accuracy_at_50", "coverage_at_50", "ece", "brier")
"""Figures of the answers read out at each layer, as in figure 3 of the paper."""


def summarise_variant(record: Mapping[str, Any], *, seed: int) -> ModelFigures:
    """Return the figures of one model, each with n and a 95 % bootstrap interval.

    `record` holds what the units returned: `sets` by name, `text` and `sentiment`.
    """
    text: TextLoss = record["text"]
    return {
        "sets": {name: _set_figures(answered, seed) for name, answered in record["sets"].items()},
        "language_modelling": {**text, "window_mean": mean_with_interval(text["window_means"], seed)},
        "sentiment": review_figures(record["sentiment"]["answers"], seed),
    }


def review_figures(reviews: Sequence[Mapping[str, Any]], seed: int) -> SentimentFigures:
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
