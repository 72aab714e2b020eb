"""Stage score: every reading's scores, what each would remove, what that costs, and how sure it is."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

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
from avss_core.scores.traversal import greedy_order, tokens_of_repairs
from flows.running.execution import run
from flows.running.stage import stage
from flows.running.workspace import Workspace
from flows.settings.params import Params
from tasks.history.stage_log import StageLog
from tasks.records import Cost, Scores, TextStatistics
from tasks.records import Reading as ReadingRecord
from tasks.removal.costs import removal_cost
from tasks.removal.losses import removal_loss
from tasks.removal.repaired_costs import repaired_cost
from tasks.removal.residuals import repair_residuals
from tasks.score import compare_costs, compare_repaired, score_layers


@stage("score", ("seed", "model", "collect", "score", "prune", "evaluate"), reads=("text/calibration",))
def score(params: Params, workspace: Workspace) -> StageLog:
    """Score layers, compare the choices on held-out text, and ask what other text would choose."""
    text = workspace.prepared / "text" / "calibration.json"
    names = [params.score.name, *params.score.compare]
    scored = score_checkpoint(params, workspace.dense, text, names, read_json(workspace.statistics))
    readings, stability = scored["readings"], scored["stability"]
    removed = {label: reading["removed"] for label, reading in readings.items()}
    # The first score prunes; "random" stands for its first draw.
    chosen = next(iter(readings))
    costs = removal_costs(params, workspace.dense, text, {"dense": [], **removed})
    compared = compare_costs(costs, chosen, seed=params.seed)
    result: Scores = {
        "readings": {
            label: cast(ReadingRecord, {**reading, "cost": compared[label]})
            for label, reading in readings.items()
        },
        "agreement": scored["agreement"],
        "dense": compared["dense"],
        "stability": stability,
        "thin": scored["thin"],
        "chosen": chosen,
        "removed": params.prune.layers or readings[chosen]["removed"],
    }
    if params.score.repair_tokens:
        repaired, left_out = repaired_costs(params, workspace.dense, text, removed)
        result["after_repair"] = compare_repaired(costs, repaired, repair_tokens(params), left_out)
        for label, cost in compare_costs(repaired, chosen, seed=params.seed).items() if repaired else ():
            result["readings"][label]["repaired"] = cost
    write_json(workspace.scores, result)
    if not params.prune.layers and chosen in result["thin"]:
        get_logger("score").warning(too_little(result["thin"][chosen]))
    return StageLog(
        metrics={"score.nll.dense": result["dense"]["nll"]}
        | {f"score.nll.{name}": reading["cost"]["nll"] for name, reading in result["readings"].items()}
        | {
            f"score.repaired_nll.{name}": reading["repaired"]["nll"]
            for name, reading in result["readings"].items()
            if "repaired" in reading
        }
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


def removal_costs(
    params: Params, model: Path, text: Path, choices: Mapping[str, Sequence[int]]
) -> dict[str, Cost]:
    """Return the loss on held-out text after each choice, by label."""
    costs: dict[str, Cost] = _by_choice(
        params, choices, partial(removal_cost, model, text, **_held_out(params)), "cost of", "costs"
    )
    return costs


def repaired_costs(
    params: Params, model: Path, text: Path, choices: Mapping[str, Sequence[int]]
) -> tuple[dict[str, Cost], str]:
    """Return the same after a small repair of each choice; none, and why, if the model cannot be repaired."""
    job = partial(
        repaired_cost,
        model,
        text,
        repair_tokens=repair_tokens(params),
        repair_window=params.collect.window,
        batch_size=params.collect.batch_size,
        **_held_out(params),
    )
    costs = _by_choice(params, choices, job, "cost after a repair of", "costs after a repair")
    reasons = [cost["left_out"] for cost in costs.values() if "left_out" in cost]
    return ({}, reasons[0]) if reasons else (costs, "")


def _by_choice(
    params: Params, choices: Mapping[str, Sequence[int]], job: partial[Any], said: str, label: str
) -> dict[str, Any]:
    """Return the result of a unit for each choice, by its label; equal choices share one."""
    labels: dict[tuple[int, ...], list[str]] = {}
    for name, removed in choices.items():
        labels.setdefault(tuple(removed), []).append(name)
    jobs = {
        removed: partial(job, list(removed), said=f"{said} {', '.join(sharing)}")
        for removed, sharing in labels.items()
    }
    results = run(params, jobs, label)
    return {name: results[tuple(removed)] for name, removed in choices.items()}


def _held_out(params: Params) -> dict[str, Any]:
    """Return the text that costs are measured on, as arguments of their units: behind what was scored."""
    return {
        **params.machine,
        "skip": params.collect.tokens,
        "tokens": params.score.cost_tokens,
        "window": params.evaluate.window,
    }


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
        them; order_windows: how many windows of the text it was measured on; repaired_order: as order, with a
        repair after each removal; residuals: one record a layer (`tasks.removal.residuals`).
    """
    needs = {SCORES[name].needs for name in scores}
    result: dict[str, Any] = {
        "losses": None, "order": None, "order_windows": None, "repaired_order": None, "residuals": None
    }  # fmt: skip
    if not needs & set(result):
        return result
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
    if "losses" in needs:
        result["losses"] = losses([], everything)
    options = params.prune
    free = everything[options.protect_first : layers - options.protect_last]
    count = min(count_to_remove(layers, options.ratio), len(free))
    if "order" in needs:
        result["order"] = greedy_order(
            lambda removed: {record["layer"]: record["nll"] for record in losses(removed, free)}, count, free
        )
        result["order_windows"] = windows[0] if windows else None
    if "repaired_order" in needs:
        result["repaired_order"] = greedy_order(
            lambda removed: _losses_after_repair(params, model, text, removed, free), count, free
        )
    if "residuals" in needs:
        job = partial(
            repair_residuals,
            model,
            text,
            **params.machine,
            tokens=removal_tokens(params),
            window=params.score.traversal_window,
            batch_size=params.collect.batch_size,
        )
        (result["residuals"],) = run(params, [job], "repair without each layer")
    return result


def _losses_after_repair(
    params: Params, model: Path, text: Path, removed: Sequence[int], candidates: Sequence[int]
) -> dict[int, float]:
    """Return the loss without each layer more after a small repair, on the text that is scored.

    Raises:
        ValueError: the model cannot be repaired, or no tokens are left to refit on.
    """
    fitted, predicted = tokens_of_repairs(
        params.collect.tokens, params.score.repair_tokens, removal_tokens(params)
    )
    if not fitted:
        raise ValueError("greedy_repaired needs tokens to refit on: raise score.repair_tokens")
    window = params.score.traversal_window + params.score.traversal_context
    job = partial(
        repaired_cost,
        model,
        text,
        **params.machine,
        repair_tokens=fitted,
        repair_window=params.collect.window,
        batch_size=params.collect.batch_size,
        skip=fitted,
        tokens=predicted,
        window=window,
    )
    jobs = {
        layer: partial(job, sorted([*removed, layer]), said=f"loss without layer {layer} after a repair")
        for layer in candidates
        if layer not in removed
    }
    costs = run(params, jobs, f"loss without each layer after a repair, {len(removed)} removed before")
    reasons = [cost["left_out"] for cost in costs.values() if "left_out" in cost]
    if reasons:
        raise ValueError(f"greedy_repaired: {reasons[0]}")
    return {layer: cost["nll"] for layer, cost in costs.items()}


def removal_tokens(params: Params) -> int:
    """Return how many tokens removals are measured on: the start of the text, before that of the costs."""
    return min(params.score.traversal_tokens, params.collect.tokens)


def repair_tokens(params: Params) -> int:
    """Return how many tokens choices are repaired on: the start of the text, before that of the costs."""
    return min(params.score.repair_tokens, params.collect.tokens)
