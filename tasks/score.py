"""Score layers, choose those to remove, and tell how far each choice can be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from prefect import task

from avss_core.metrics.comparison import mean_with_interval, paired_means
from avss_core.scores.choice import Removal
from avss_core.scores.evidence import (
    Evidence,
    Measured,
    measured_losses,
    measured_statistics,
    together,
)
from avss_core.scores.readings import Reading, score_readings
from avss_core.scores.score_records import Need, ScoredReadings
from avss_core.scores.stability import LEAST_PARTS, OtherText, beginnings, resampled
from avss_core.statistics.statistics import restore_parts
from tasks.progress.steps import working
from tasks.records import TextStatistics


@task(name="score-layers")
def score_layers(
    bare: Evidence,
    readings: Sequence[Reading],
    removal: Removal,
    *,
    statistics: Mapping[str, TextStatistics],
    losses: Sequence[Mapping[str, Any]] | None,
    order: Sequence[int] | None,
    order_windows: int | None,
    resamples: int,
    seed: int,
) -> ScoredReadings:
    """Return every layer's score by each reading, the layers that it removes, and how sure that choice is.

    Args:
        bare: the number of layers.
        readings: what to score by.
        removal: how many layers go, and which are protected.
        statistics: of the calibration text (`text`) and of other texts, by name; empty if no reading needs
            them.
        losses: without each layer, whole and by window, if a reading needs them.
        order: in which greedy removal takes layers, if a reading needs it.
        order_windows: windows of the text that this order was measured on.
        resamples: how many, of the parts or windows of the calibration text.
        seed: of the resampling.
    """
    texts = {name: _parts(bare, record) for name, record in statistics.items()}
    measured: dict[Need, Measured] = {
        "nothing": Measured(bare),
        "order": Measured(replace(bare, order=order), windows=order_windows),
    }
    if texts:
        measured["statistics"] = measured_statistics(texts["text"])
    if losses:
        measured["losses"] = measured_losses(
            bare,
            {each["layer"]: each["nll"] for each in losses},
            {each["layer"]: each["window_means"] for each in losses},
        )
    with working(f"choices on {resamples:,} resamples of the text"):
        other_text = {
            need: OtherText(resampled(each.parts, resamples, seed))
            for need, each in measured.items()
            if len(each.parts) >= LEAST_PARTS
        }
    if "statistics" in other_text:
        other_text["statistics"] = replace(
            other_text["statistics"],
            beginnings=beginnings(texts["text"]),
            sources={name: together(parts) for name, parts in texts.items() if name != "text"},
        )
    return score_readings(readings, measured, removal, other_text=other_text)


def _parts(bare: Evidence, record: TextStatistics) -> list[Evidence]:
    """Return the evidence in each part of a text."""
    parts = zip(restore_parts(record), record["parts"], strict=True)
    return [replace(bare, statistics=layers, tokens=part["tokens"]) for layers, part in parts]


@task(name="compare-costs")
def compare_costs(
    costs: Mapping[str, Mapping[str, Any]], chosen: str, *, seed: int
) -> dict[str, dict[str, Any]]:
    """Return each cost with its interval over windows, and how far it lies above the chosen reading's."""
    best = costs[chosen]["window_means"]
    return {
        label: dict(cost)
        | {
            "interval": mean_with_interval(cost["window_means"], seed),
            "over_chosen": paired_means(best, cost["window_means"], seed),
        }
        for label, cost in costs.items()
    }
