"""The figures of a model's answers and of two models on the same questions, each with its interval."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from avss_core.metrics.bootstrap import as_entry, draws
from avss_core.metrics.calibration import (
    Bin,
    accuracy_at_rows,
    accuracy_coverage_curve,
    auroc_rows,
    brier_rows,
    brier_skill_rows,
    coverage_at_rows,
    ece_rows,
    reliability,
)
from avss_core.metrics.columns import Column, Values, answer_columns, figure
from avss_core.metrics.litcab import acc_at_litcab_rows, cov_at_litcab_rows, ece_litcab_rows
from avss_core.metrics.records import AnswerFigures, BinEntry, CurvePoint, Entry, FigureEntries

SMALL_N = 100
"""With fewer answers the figures are mostly noise: a perfectly calibrated model's ECE is far from 0."""

CURVE_POINTS = 50
"""A longer accuracy-coverage curve is thinned to this many of its points."""

FIGURES: Mapping[str, Callable[[Values, Values], Values]] = {
    "accuracy": partial(accuracy_at_rows, share=1.0),
    "accuracy_at_50": partial(accuracy_at_rows, share=0.5),
    "coverage_at_50": partial(coverage_at_rows, accuracy=0.5),
    "ece": partial(ece_rows, bins=10),
    "brier": brier_rows,
    "brier_skill": brier_skill_rows,
    "auroc": auroc_rows,
    "accuracy_at_50_litcab": partial(acc_at_litcab_rows, share=0.5),
    "coverage_at_50_litcab": partial(cov_at_litcab_rows, accuracy=0.5),
    "ece_litcab": ece_litcab_rows,
}
"""The figures of answers; each takes checked columns, a row a resample, and returns one value a row."""


def summarise(confidence: Column, correct: Column, seed: int) -> AnswerFigures:
    """Return the figures of answers with their 95 % bootstrap intervals; the curve rises in coverage."""
    sure, right = answer_columns(confidence, correct)
    resampled = _resampled(
        sure.size, seed, lambda rows: [f(sure[rows], right[rows]) for f in FIGURES.values()]
    )
    entries = (
        as_entry(figure(rows, sure, right), values)
        for rows, values in zip(FIGURES.values(), resampled, strict=True)
    )
    return {
        "n": sure.size,
        "small_n": sure.size < SMALL_N,
        **_by_figure(entries),
        "reliability": [_bin_entry(each) for each in reliability(sure, right)],
        "curve": _curve(sure, right),
    }


def auroc_with_interval(confidence: Column, correct: Column, seed: int) -> Entry:
    """Return `calibration.auroc` with its 95 % bootstrap interval; resamples of one class alone are left out.

    Example:
        >>> auroc_with_interval([0.9, 0.8, 0.8, 0.3], [1, 1, 0, 0], seed=0)["value"]
        0.875
    """
    sure, right = answer_columns(confidence, correct)
    drawn = [auroc_rows(sure[rows], right[rows]) for rows in draws(sure.size, seed)]
    return as_entry(figure(auroc_rows, sure, right), np.concatenate([[], *drawn]))


def changes(before: tuple[Column, Column], after: tuple[Column, Column], seed: int) -> FigureEntries:
    """Return after minus before for each of `FIGURES`, with paired 95 % bootstrap intervals.

    Args:
        before: confidence and correctness of the first model's answers.
        after: the same of the second model's answers to the same questions, in the same order.
        seed: of the resampling.

    Raises:
        ValueError: there are not as many answers after as before.
    """
    sizes = [answer_columns(*side)[0].size for side in (before, after)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"there are {sizes[0]} answers before and {sizes[1]} after")
    return contrast([(1.0, after), (-1.0, before)], seed)


def contrast(sides: Sequence[tuple[float, tuple[Column, Column]]], seed: int) -> FigureEntries:
    """Return a weighted sum of models' figures for each of `FIGURES`, with paired 95 % bootstrap intervals.

    The weights 1, -1/2 and -1/2 tell how far the first model is above the mean of the other two. Resamples
    take the same questions of every model.

    Args:
        sides: for each model its weight, and confidence and correctness of its answers to the same questions
            in the same order; at least one.
        seed: of the resampling.

    Raises:
        ValueError: the models differ in their number of answers.
    """
    columns = [(weight, answer_columns(*side)) for weight, side in sides]
    sizes = {sure.size for _, (sure, _) in columns}
    if len(sizes) != 1:
        raise ValueError(f"the models have {sorted(sizes)} answers; expected one number for all")
    size = sizes.pop()

    def combined(rows: Any) -> list[Values]:
        drawn = [(weight, (sure[rows], right[rows])) for weight, (sure, right) in columns]
        return [
            np.sum([weight * function(*side) for weight, side in drawn], axis=0)
            for function in FIGURES.values()
        ]

    resampled = _resampled(size, seed, combined)
    return _by_figure(
        as_entry(float(sum(weight * figure(rows, *side) for weight, side in columns)), values)
        for rows, values in zip(FIGURES.values(), resampled, strict=True)
    )


def _by_figure(entries: Iterable[Entry]) -> FigureEntries:
    """Return one entry for each of `FIGURES` by its name."""
    # A cast: the type names the figures one by one, and a test compares it with the table.
    return cast(FigureEntries, dict(zip(FIGURES, entries, strict=True)))


def _bin_entry(each: Bin) -> BinEntry:
    """Return a bin of the reliability diagram as JSON: None in place of nan."""
    return {
        "lower": each.lower,
        "upper": each.upper,
        "count": each.count,
        "confidence": each.confidence if each.count else None,
        "accuracy": each.accuracy if each.count else None,
    }


def _resampled(size: int, seed: int, figures: Callable[[Any], list[Values]]) -> list[Values]:
    """Return the values that each of `FIGURES` has on seeded resamples."""
    blocks = [figures(rows) for rows in draws(size, seed)]
    return [np.concatenate([[], *(block[index] for block in blocks)]) for index in range(len(FIGURES))]


def _curve(sure: Values, right: Values) -> list[CurvePoint]:
    """Return points of the accuracy-coverage curve, its ends among them."""
    coverage, accuracy = accuracy_coverage_curve(sure, right)
    last = coverage.size - 1
    shown = np.unique(np.linspace(0, last, min(CURVE_POINTS, last + 1)).round().astype(int))
    return [{"coverage": float(coverage[i]), "accuracy": float(accuracy[i])} for i in shown]
