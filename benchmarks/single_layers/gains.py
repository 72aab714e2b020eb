"""What trainings gained over the untrained model, on resampled questions and seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avss_core.metrics.bootstrap import draws, interval
from avss_core.metrics.calibration import accuracy_at_rows, brier_rows, coverage_at_rows, ece_rows
from avss_core.scores.ranking import kendall_tau
from benchmarks.single_layers.readings import Readings
from benchmarks.single_layers.reference import Reference

RESAMPLES = 1000

Values = NDArray[np.float64]


def figures(columns: Mapping[str, Any], rows: Mapping[str, NDArray[np.int64]]) -> dict[str, Values]:
    """Return each figure as the mean over the sets on resampled rows, higher being better for all."""
    parts: dict[str, list[Values]] = {}
    for name, own in columns["sets"].items():
        sure, right, gold = (
            np.array(own[key], dtype=float)[rows[name]] for key in ("confidence", "correct", "gold")
        )
        parts.setdefault("Brier", []).append(-brier_rows(sure, right))
        parts.setdefault("ECE", []).append(-ece_rows(sure, right, 10))
        parts.setdefault("accuracy@50", []).append(accuracy_at_rows(sure, right, 0.5))
        parts.setdefault("coverage@50", []).append(coverage_at_rows(sure, right, 0.5))
        parts.setdefault("accuracy", []).append(right.mean(1))
        parts.setdefault("gold loss", []).append(-np.nanmean(gold, axis=1))
    return {figure: np.mean(values, axis=0) for figure, values in parts.items()}


def gains(
    reference: Reference, part: str, choices: Sequence[Sequence[int]], seeds: Sequence[int]
) -> dict[str, Values]:
    """Return what each choice of layers gained over the base: by figure, choices x (1 + resamples).

    The first column is the gain on all rows; the others are on resampled questions, and seeds.
    """
    base = reference.base()[part]
    drawn = {
        name: np.vstack([np.arange(len(own["correct"])), *draws(len(own["correct"]), 0, RESAMPLES)])
        for name, own in base["sets"].items()
    }
    before = figures(base, drawn)
    generator = np.random.default_rng(0)
    often = np.vstack(
        [np.ones(len(seeds)), generator.multinomial(len(seeds), [1 / len(seeds)] * len(seeds), RESAMPLES)]
    ).T / len(seeds)
    found: dict[str, list[Values]] = {figure: [] for figure in before}
    for layers in choices:
        after = [figures(reference.trained(layers, seed)[part], drawn) for seed in seeds]
        for figure, values in before.items():
            each = np.array([one[figure] - values for one in after])
            found[figure].append((each * often).sum(0))
    return {figure: np.array(rows) for figure, rows in found.items()}


def costs(reference: Reference, layers: Sequence[int], seeds: Sequence[int]) -> tuple[float, float]:
    """Return the mean change of the accuracy on reviews, and of the loss on text in nats a token."""
    base = reference.base()["test"]
    after = [reference.trained(layers, seed)["test"] for seed in seeds]
    reviews, text = (
        float(np.mean([np.mean(each[key]) for each in after]) - np.mean(base[key]))
        for key in ("reviews", "text")
    )
    return reviews, text


def foretold(readings: Readings, gained: Values) -> dict[str, tuple[float, float, float]]:
    """Return Kendall's tau of each reading with the gains of the layers, and its interval."""
    found = {}
    for name, values in readings.items():
        taus = np.array([kendall_tau(values, column.tolist()) or 0.0 for column in gained.T])
        found[name] = (float(taus[0]), *interval(taus[1:]))
    return found
