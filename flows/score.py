"""Stage score: every reading's scores, what each would remove, what that costs, and how sure it is."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefect.logging import get_logger

from avss_core.files.writing import read_json, write_json
from avss_core.models.architectures import depth
from avss_core.models.loading import load_config
from avss_core.scores.choice import Removal, count_to_remove
from avss_core.scores.evidence import Evidence
from avss_core.scores.readings import Reading
from avss_core.scores.score_records import ScoredReadings
from avss_core.scores.scores import SCORES
from avss_core.scores.stability import too_little
from avss_core.scores.traversal import greedy_order
from flows.running.execution import run
from flows.running.stage import stage
from flows.running.workspace import Workspace
from flows.settings.params import Params
from tasks.history.stage_log import StageLog
from tasks.records import Cost, Scores, TextStatistics
from tasks.removal import removal_cost, removal_loss
from tasks.score import compare_costs, score_layers


@stage("score", ("seed", "model", "collect", "score", "prune", "evaluate"), reads=("text/calibration",))
def score(params: Params, workspace: Workspace) -> StageLog:
    """Score layers, compare the choices on held-out text, and ask what other text would choose."""
    text = workspace.prepared / "text" / "calibration.json"
    names = [params.score.name, *params.score.compare]
    scored = score_checkpoint(params, workspace.dense, text, names, read_json(workspace.statistics))
    readings, stability = scored["readings"], scored["stability"]
    removed = {label: reading["removed"] for label, reading in readings.items()}
    costs = _costs(params, workspace.dense, text, removed)
    # The first score prunes; "random" stands for its first draw.
    chosen = next(iter(readings))
    compared: dict[str, Any] = compare_costs(costs, chosen, seed=params.seed)
    result: Scores = {
        "readings": {label: {**reading, "cost": compared[label]} for label, reading in readings.items()},
        "agreement": scored["agreement"],
        "dense": compared["dense"],
        "stability": stability,
        "thin": scored["thin"],
        "chosen": chosen,
        "removed": params.prune.layers or readings[chosen]["removed"],
    }
    write_json(workspace.scores, result)
    if not params.prune.layers and chosen in result["thin"]:
        get_logger("score").warning(too_little(result["thin"][chosen]))
    return StageLog(
        metrics={"score.nll.dense": result["dense"]["nll"]}
        | {f"score.nll.{name}": reading["cost"]["nll"] for name, reading in result["readings"].items()}
        | {f"score.same_choice.{name}": record["same"] for name, record in stability.items()},
        layers={f"score.{name}": reading["scores"] for name, reading in readings.items()},
        tables={"scores.json": result},
        tags={"removed": str(result["removed"])},
    )


def score_checkpoint(
    params: Params, model: Path, text: Path, names: Sequence[str], statistics: Mapping[str, TextStatistics]
) -> ScoredReadings:
    """Return every layer's score by each reading, the layers that it removes, and how sure that choice is.

    Args:
        params: all of them.
        model: a checkpoint folder.
        text: the calibration text, on which removals are measured.
        names: of the scores.
        statistics: of the calibration text (`text`) and of other texts; empty if no score reads activations.
    """
    removals = measure_removals(params, model, text, names)
    return score_layers(
        Evidence(depth(load_config(str(model)))),
        readings_of(names, params.seed, params.score.random_draws),
        removal_of(params),
        statistics=statistics,
        **removals,
        resamples=params.score.resamples,
        seed=params.seed,
    )


def _costs(params: Params, model: Path, text: Path, choices: Mapping[str, Sequence[int]]) -> dict[str, Cost]:
    """Return the loss on held-out text after each choice, by label, and of the `dense` model."""
    chosen_by = {"dense": [], **choices}
    # Readings that remove the same layers share a cost.
    labels: dict[tuple[int, ...], list[str]] = {}
    for label, removed in chosen_by.items():
        labels.setdefault(tuple(removed), []).append(label)
    jobs = {
        removed: partial(
            removal_cost,
            model,
            text,
            list(removed),
            **params.machine,
            skip=params.collect.tokens,
            tokens=params.score.cost_tokens,
            window=params.evaluate.window,
            said=f"cost of {', '.join(sharing)}",
        )
        for removed, sharing in labels.items()
    }
    costs = run(params, jobs, "costs")
    return {label: costs[tuple(removed)] for label, removed in chosen_by.items()}


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


def measure_removals(params: Params, model: Path, text: Path, scores: Iterable[str]) -> dict[str, Any]:
    """Return what the scores need to know of removed layers, None for what no score needs.

    Returns:
        losses: one record a layer (`tasks.records.RemovalLoss`); order: the layers as greedy removal takes
        them; order_windows: how many windows of the text it was measured on.
    """
    needs = {SCORES[name].needs for name in scores}
    if not needs & {"losses", "order"}:
        return {"losses": None, "order": None, "order_windows": None}
    layers = depth(load_config(str(model)))
    everything = range(layers)

    def losses(removed: Sequence[int], candidates: Sequence[int]) -> list[dict[str, Any]]:
        jobs = [
            partial(
                removal_loss,
                model,
                text,
                layer,
                list(removed),
                **params.machine,
                tokens=removal_tokens(params),
                window=params.score.traversal_window,
                context=params.score.traversal_context,
            )
            for layer in candidates
            if layer not in removed
        ]
        label = f"loss without each layer, {len(removed)} removed before"
        records: list[dict[str, Any]] = run(params, jobs, label, threads=True)
        windows[:] = [len(records[0]["window_means"])]
        return records

    windows: list[int] = []
    result: dict[str, Any] = {"losses": None, "order": None, "order_windows": None}
    if "losses" in needs:
        result["losses"] = losses([], everything)
    if "order" in needs:
        options = params.prune
        free = everything[options.protect_first : layers - options.protect_last]
        result["order"] = greedy_order(
            lambda removed: {record["layer"]: record["nll"] for record in losses(removed, free)},
            min(count_to_remove(layers, options.ratio), len(free)),
            free,
        )
        result["order_windows"] = windows[0] if windows else None
    return result


def removal_tokens(params: Params) -> int:
    """Return how many tokens removals are measured on: the start of the text, before that of the costs."""
    return min(params.score.traversal_tokens, params.collect.tokens)
