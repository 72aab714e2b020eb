"""Stage score: every reading's scores, what each would remove, what that costs, and how sure it is."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from avss_core.digests import read_json, write_json
from flows.execution import run
from flows.params import Params
from flows.removal import measure_removals
from flows.stage import stage
from flows.workspace import Workspace
from tasks.score import Choice, choice_stability, compare_costs, removal_cost, score_layers
from tasks.stage_log import StageLog


@stage("score", ("seed", "model", "collect", "score", "prune", "evaluate"), reads=("text/calibration",))
def score(params: Params, workspace: Workspace) -> StageLog:
    """Score layers, compare the choices on held-out text, and ask what other text would choose."""
    options = params.score
    text = workspace.prepared / "text" / "calibration.json"
    names = list(dict.fromkeys([options.name, *options.compare]))
    statistics = read_json(workspace.statistics)
    removals = measure_removals(params, workspace.dense, text, names)
    layers, choice = len(statistics["text"]["parts"][0]["layers"]), choice_of(params)
    result: dict[str, Any] = score_layers(
        layers,
        readings_of(names, params.seed, options.random_draws),
        choice,
        statistics=statistics["text"],
        **removals,
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
    result["stability"] = choice_stability(
        layers,
        readings,
        choice,
        statistics=statistics,
        losses=removals["losses"],
        resamples=options.resamples,
        seed=params.seed,
    )
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


def choice_of(params: Params) -> Choice:
    """Return how scores become layers to remove."""
    return Choice(
        params.collect.threshold,
        params.collect.relative_threshold,
        params.prune.ratio,
        params.prune.protect_first,
        params.prune.protect_last,
    )


def readings_of(names: Sequence[str], seed: int, random_draws: int) -> list[tuple[str, str, int]]:
    """Return (label, score, seed) of each named score once; a random score counts once for each draw."""
    return [
        (f"{name}_{draw}" if name == "random" else name, name, seed + draw)
        for name in dict.fromkeys(names)
        for draw in range(random_draws if name == "random" else 1)
    ]
