"""Score layers, choose those to remove, and tell how far each choice can be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from avss_core.caching.kept_results import Run
from avss_core.display.steps import working
from avss_core.jobs.job_records import Cost
from avss_core.jobs.removals import measure_removals
from avss_core.models.architectures import depth
from avss_core.models.loading import load_config
from avss_core.registry import CHEAPEST
from avss_core.scores.choice import Removal
from avss_core.scores.evidence import (
    Evidence,
    Measured,
    measured_losses,
    measured_residuals,
    measured_statistics,
    together,
)
from avss_core.scores.readings import Reading, score_readings
from avss_core.scores.score_records import Need, ScoredReadings
from avss_core.scores.stability import LEAST_PARTS, OtherText, beginnings, resampled
from avss_core.settings.params import Params
from avss_core.statistics.layer_records import TextStatistics
from avss_core.statistics.statistics import restore_parts


def score_checkpoint(
    params: Params,
    model: Path,
    text: Path,
    names: Sequence[str],
    statistics: Mapping[str, TextStatistics],
    run: Run,
) -> ScoredReadings:
    """Return every layer's score by each reading, the layers that it removes, and how sure that choice is.

    Args:
        params: all of them.
        model: a checkpoint folder.
        text: the calibration text, on which removals are measured.
        names: of the scores.
        statistics: of the calibration text (`text`) and of other texts; empty if no score reads activations.
        run: runs the units.
    """
    removals = measure_removals(params, model, text, names, run)
    return score_layers(
        Evidence(depth(load_config(str(model)))),
        readings_of(names, params.seed, params.score.random_draws),
        removal_of(params),
        statistics=statistics,
        **removals,
        resamples=params.score.resamples,
        seed=params.seed,
    )


def chosen_reading(params: Params, costs: Mapping[str, Cost]) -> str:
    """Return the label of the reading that chooses: that of the named score, or the cheapest one.

    Draws at random are there to be beaten and never chosen; among equal costs the first reading wins.

    Args:
        params: all of them.
        costs: of each reading's choice, by label in the order of the readings; after a repair where there is
            one.

    Raises:
        ValueError: the cheapest is asked for, and random draws alone are compared.
    """
    labels = [label for label in costs if label != "dense"]
    if params.score.name != CHEAPEST:
        return labels[0]
    found = [label for label in labels if not label.startswith("random")]
    if not found:
        raise ValueError("the cheapest choice is asked for, and score.compare names random alone: name more")
    return min(found, key=lambda label: costs[label]["nll"])


def removal_of(params: Params) -> Removal:
    """Return the share of layers to remove, and how many are protected at either end."""
    options = params.prune
    return {
        "ratio": options.ratio,
        "protect_first": options.protect_first,
        "protect_last": options.protect_last,
    }


def readings_of(names: Sequence[str], seed: int, random_draws: int) -> list[Reading]:
    """Return a reading of each named score; a random score is read once for each draw."""
    return [
        Reading(f"{name}_{draw}" if name == "random" else name, name, seed + draw)
        for name in dict.fromkeys(names)
        for draw in range(random_draws if name == "random" else 1)
    ]


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
