"""Stage repair: the blocks that are left are refitted towards the dense model, without a training step."""

from typing import Any

from avss_core.files.writing import folder_written_whole, read_json, write_json
from flows.running.mixture import mixture
from flows.running.stage import stage
from flows.running.workspace import Workspace
from flows.settings.params import Params
from tasks.history.stage_log import StageLog
from tasks.records import Repair
from tasks.repair import RepairOptions, repair_model
from tasks.training.watched_training import forget


@stage(
    "repair",
    ("seed", "model", "data", "collect", "score", "repair", "evaluate", "heal"),
    reads=("questions/train", "reviews/train", "text/calibration"),
)
def repair(params: Params, workspace: Workspace) -> StageLog:
    """Refit the pruned model, and check the checkpoint in a fresh process."""
    if not params.repair.enabled:
        with folder_written_whole(workspace.repaired, replace=True):
            pass
        write_json(workspace.repair, {"enabled": False})
        return StageLog(tags={"repaired": "no"}, left_out="repair.enabled")
    resume = workspace.training / "repair"
    fit = repair_model(
        workspace.pruned,
        workspace.dense,
        workspace.prepared,
        params.data.sets,
        folder=workspace.repaired,
        resume=resume,
        provenance={
            "base": "pruned",
            "weights": read_json(workspace.dense / "model_card.json")["weights"],
        },
        replace=True,
        **repair_settings(params),
    )
    record: Repair = {"enabled": True, "fit": fit}
    write_json(workspace.repair, record)
    forget(resume)
    refitted = [each for each in fit["projections"] if each["ridge"] is not None]
    return StageLog(
        metrics={"repair.tokens": fit["tokens"], "repair.projections": len(refitted)},
        tables={"repair.json": record},
        checkpoints={"repaired": workspace.repaired},
    )


def repair_settings(params: Params) -> dict[str, Any]:
    """Return the data and settings of the repair, as arguments of `tasks.repair.repair_model`."""
    options = params.repair
    return {
        **params.machine,
        "mixture": mixture(params, options),
        "options": RepairOptions(
            attention=options.attention,
            anticipation=options.anticipation,
            batch_size=options.batch_size,
        ),
    }
