"""Stage score: every reading's scores, what each would remove, what that costs, and how sure it is."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from avss_core.files.writing import read_json, write_json
from avss_core.models.architectures import depth
from avss_core.models.loading import load_config
from avss_core.scores.choice import Removal, count_to_remove
from avss_core.scores.evidence import Evidence
from avss_core.scores.readings import Reading
from avss_core.scores.scores import SCORES
from avss_core.scores.traversal import greedy_order
from flows.running.execution import run
from flows.running.stage import stage
from flows.running.workspace import Workspace
from flows.settings.params import Params
from tasks.history.stage_log import StageLog
from tasks.removal import removal_cost, removal_loss
from tasks.score import compare_costs, score_layers


@stage("score", ("seed", "model", "collect", "score", "prune", "evaluate"), reads=("text/calibration",))
def score(params: Params, workspace: Workspace) -> StageLog:
    """Score layers, compare the choices on held-out text, and ask what other text would choose."""
    options = params.score
    text = workspace.prepared / "text" / "calibration.json"
    names = list(dict.fromkeys([options.name, *options.compare]))
    statistics = read_json(workspace.statistics)
    removals = measure_removals(params, workspace.dense, text, names)
    result: dict[str, Any] = score_layers(
        Evidence(len(statistics["text"]["parts"][0]["layers"])),
        readings_of(names, params.seed, options.random_draws),
        removal_of(params),
        statistics=statistics,
        **removals,
        resamples=options.resamples,
        seed=params.seed,
    )

    readings = result["readings"]
    chosen_by = {"dense": []} | {label: found["removed"] for label, found in readings.items()}
    # Readings that remove the same layers share a cost.
    named: dict[tuple[int, ...], list[str]] = {}
    for label, removed in chosen_by.items():
        named.setdefault(tuple(removed), []).append(label)
    jobs = {
        removed: partial(
            removal_cost,
            workspace.dense,
            text,
            list(removed),
            **params.machine,
            skip=params.collect.tokens,
            tokens=options.cost_tokens,
            window=params.evaluate.window,
            said=f"cost of {', '.join(labels)}",
        )
        for removed, labels in named.items()
    }
    by_choice = run(params, jobs, "costs")
    costs = {label: by_choice[tuple(removed)] for label, removed in chosen_by.items()}
    # "random" stands for its first draw where it is the score that prunes.
    chosen = f"{options.name}_0" if options.name == "random" else options.name
    compared = compare_costs(costs, chosen, seed=params.seed)
    result["dense"] = compared.pop("dense")
    for label, found in readings.items():
        found["cost"] = compared[label]
    result |= {"chosen": chosen, "removed": params.prune.layers or readings[chosen]["removed"]}
    write_json(workspace.scores, result)
    return StageLog(
        metrics={"score.nll.dense": result["dense"]["nll"]}
        | {f"score.nll.{name}": found["cost"]["nll"] for name, found in readings.items()}
        | {f"score.same_choice.{name}": found["same"] for name, found in result["stability"].items()},
        layers={f"score.{name}": found["scores"] for name, found in readings.items()},
        tables={"scores.json": result},
        tags={"removed": str(result["removed"])},
    )


def removal_of(params: Params) -> Removal:
    """Return how many layers go, and which are protected."""
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
    """Return what scores need of removed layers: nothing where none of them needs it.

    Returns:
        losses: one record a layer with its number, the loss without it and the mean loss of each window, None
        where no score needs it; order: the layers in the order in which greedy removal takes them, or None.
    """
    needs = {SCORES[name].needs for name in scores}
    if not needs & {"losses", "order"}:
        return {"losses": None, "order": None}
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
        found: list[dict[str, Any]] = run(params, jobs, label, threads=True)
        return found

    result: dict[str, Any] = {"losses": None, "order": None}
    if "losses" in needs:
        result["losses"] = losses([], everything)
    if "order" in needs:
        options = params.prune
        free = everything[options.protect_first : layers - options.protect_last]
        result["order"] = greedy_order(
            lambda removed: {found["layer"]: found["nll"] for found in losses(removed, free)},
            min(count_to_remove(layers, options.ratio), len(free)),
            free,
        )
    return result


def removal_tokens(params: Params) -> int:
    """Return how much calibration text removals are measured on: none of that on which costs are."""
    return min(params.score.traversal_tokens, params.collect.tokens)
