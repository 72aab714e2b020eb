"""Stage score: every reading's scores, what each would remove, what that costs, and how sure it is."""

from typing import cast

from prefect.logging import get_logger

from avss_core.files.writing import read_json, write_json
from avss_core.jobs.layer_choice import chosen_reading, score_checkpoint
from avss_core.jobs.removals import removal_costs, repair_tokens, repaired_costs
from avss_core.scores.stability import too_little
from avss_core.settings.params import Params
from flows.running.execution import run_in
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.history.stage_log import StageLog
from tasks.records import Reading, Scores
from tasks.score import compare_costs, compare_repaired


@stage("score", ("seed", "model", "collect", "score", "prune", "evaluate"), reads=("text/calibration",))
def score(params: Params, workspace: Workspace) -> StageLog:
    """Score layers, compare the choices on held-out text, and ask what other text would choose."""
    text = workspace.prepared / "text" / "calibration.json"
    scored = score_checkpoint(
        params, workspace.dense, text, params.score.measured, read_json(workspace.statistics), run_in(params)
    )
    readings, stability = scored["readings"], scored["stability"]
    removed = {label: reading["removed"] for label, reading in readings.items()}
    costs = removal_costs(params, workspace.dense, text, {"dense": [], **removed}, run_in(params))
    repaired, left_out = repaired_costs(params, workspace.dense, text, removed, run_in(params))
    chosen = chosen_reading(params, repaired or costs)
    compared = compare_costs(costs, chosen, seed=params.seed)
    result: Scores = {
        "readings": {
            label: cast(Reading, {**reading, "cost": compared[label]}) for label, reading in readings.items()
        },
        "agreement": scored["agreement"],
        "dense": compared["dense"],
        "stability": stability,
        "thin": scored["thin"],
        "chosen": chosen,
        "removed": params.prune.layers or readings[chosen]["removed"],
    }
    if params.score.repair_tokens:
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
