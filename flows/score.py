"""Stage score: every layer's score by every reading, what each would remove, and what that costs."""

from collections.abc import Sequence
from typing import Any

from avss_core.digests import read_json, write_json
from flows.params import Params
from flows.stage import stage
from flows.workspace import Workspace
from tasks.score import removal_cost, score_layers
from tasks.tracking import StageLog


@stage("score", ("seed", "model", "collect", "score", "prune", "evaluate"))
def score(params: Params, workspace: Workspace) -> StageLog:
    """Score layers and compare the choices on held-out calibration text."""
    options, collected = params.score, params.collect
    readings = readings_of([options.name, *options.compare], params.seed, options.random_draws)
    result: dict[str, Any] = score_layers(
        read_json(workspace.statistics)["text"],
        readings,
        absolute=collected.threshold,
        relative=collected.relative_threshold,
        ratio=params.prune.ratio,
        protect_first=params.prune.protect_first,
        protect_last=params.prune.protect_last,
    )

    def cost(removed: list[int]) -> dict[str, Any]:
        return removal_cost(
            workspace.dense,
            workspace.prepared / "text" / "calibration.json",
            removed,
            dtype=params.model.dtype,
            device=params.model.device,
            skip=collected.tokens,
            tokens=options.cost_tokens,
            window=params.evaluate.window,
        )

    result["dense"] = cost([])
    for found in result["readings"].values():
        found["cost"] = cost(found["removed"])
    # "random" stands for its first draw where it is the score that prunes.
    label = f"{options.name}_0" if options.name == "random" else options.name
    chosen = result["readings"][label]
    result |= {"chosen": label, "removed": params.prune.layers or chosen["removed"]}
    write_json(workspace.scores, result)
    return StageLog(
        metrics={"score.nll.dense": result["dense"]["nll"]}
        | {f"score.nll.{name}": found["cost"]["nll"] for name, found in result["readings"].items()},
        tables={"scores.json": result},
        tags={"removed": str(result["removed"])},
    )


def readings_of(names: Sequence[str], seed: int, random_draws: int) -> list[tuple[str, str, int]]:
    """Return (label, score, seed) of each named score once; a random score counts once for each draw."""
    return [
        (f"{name}_{draw}" if name == "random" else name, name, seed + draw)
        for name in dict.fromkeys(names)
        for draw in range(random_draws if name == "random" else 1)
    ]
