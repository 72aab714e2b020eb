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
    measured_residuals,
    measured_statistics,
    together,
)
from avss_core.scores.ranking import kendall_tau
from avss_core.scores.readings import Reading, score_readings
from avss_core.scores.score_records import Need, ScoredReadings
from avss_core.scores.stability import LEAST_PARTS, OtherText, beginnings, resampled
from avss_core.statistics.statistics import restore_parts
from tasks.progress.steps import working
from tasks.records import AfterRepair, ComparedCost, Cost, TextStatistics


@task(name="score-layers")
def score_layers(
    bare: Evidence,
    readings: Sequence[Reading],
    removal: Removal,
    *,
    statistics: Mapping[str, TextStatistics],
    losses: Sequence[Mapping[str, Any]] | None,
    order: Sequence[int] | None,
    residuals: Sequence[Mapping[str, Any]] | None,
    order_windows: int | None,
    repaired_order: Sequence[int] | None,
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
        residuals: what a repair leaves open without each layer, by window, if a reading needs it.
        order_windows: windows of the text that this order was measured on.
        repaired_order: the order with a repair after each removal, if a reading needs it.
        resamples: how many, of the parts or windows of the calibration text.
        seed: of the resampling.
    """
    texts = {name: _parts(bare, record) for name, record in statistics.items()}
    measured: dict[Need, Measured] = {
        "nothing": Measured(bare),
        "order": Measured(replace(bare, order=order), windows=order_windows),
        "repaired_order": Measured(replace(bare, order=repaired_order)),
    }
    if texts:
        measured["statistics"] = measured_statistics(texts["text"])
    if losses:
        measured["losses"] = measured_losses(
            bare,
            {each["layer"]: each["nll"] for each in losses},
            {each["layer"]: each["window_means"] for each in losses},
        )
    if residuals:
        measured["residuals"] = measured_residuals(
            bare,
            {each["layer"]: each["residuals"] for each in residuals},
            {each["layer"]: each["outputs"] for each in residuals},
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
def compare_costs(costs: Mapping[str, Cost], chosen: str, *, seed: int) -> dict[str, ComparedCost]:
    """Return each cost with its interval over windows, and how far it lies above the chosen reading's."""
    best = costs[chosen]["window_means"]
    return {
        label: {
            "nll": cost["nll"],
            "tokens": cost["tokens"],
            "window_means": cost["window_means"],
            "interval": mean_with_interval(cost["window_means"], seed),
            "over_chosen": paired_means(best, cost["window_means"], seed),
        }
        for label, cost in costs.items()
    }


def compare_repaired(
    costs: Mapping[str, Cost], repaired: Mapping[str, Cost], tokens: int, left_out: str
) -> AfterRepair:
    """Return how the order of the choices by their cost changes with a repair.

    Args:
        costs: of each reading's choice.
        repaired: the same after the repair; empty if it was left out.
        tokens: that were fitted to.
        left_out: why there is none; empty if there is one.

    Example:
        >>> cost = lambda nll: {"nll": nll, "tokens": 2, "window_means": [nll]}
        >>> before, after = ({"a": cost(x), "b": cost(y), "c": cost(y)} for x, y in ((3.0, 4.0), (3.0, 2.5)))
        >>> change = compare_repaired(before, after, 64, "")
        >>> change["choices"], change["tau"], change["cheapest_before"], change["cheapest_after"]
        (2, -1.0, ['a'], ['b', 'c'])
    """
    # Readings that remove the same layers share their costs, and count once.
    pairs = sorted({(costs[label]["nll"], cost["nll"]) for label, cost in repaired.items()})
    before, after = ([pair[side] for pair in pairs] for side in (0, 1))
    return {
        "tokens": tokens,
        "left_out": left_out,
        "choices": len(pairs),
        "tau": kendall_tau(before, after) if len(pairs) > 1 else None,
        "cheapest_before": _cheapest({label: costs[label] for label in repaired}),
        "cheapest_after": _cheapest(repaired),
    }


def _cheapest(costs: Mapping[str, Cost]) -> list[str]:
    """Return the labels with the lowest loss."""
    least = min((cost["nll"] for cost in costs.values()), default=0.0)
    return [label for label, cost in costs.items() if cost["nll"] == least]
