"""Stage repair: the blocks that are left are refitted towards the dense model, without a training step."""

from avss_core.files.writing import folder_written_whole, read_json, write_json
from avss_core.jobs.checkpoint_repair import repair_settings
from avss_core.jobs.mixture_settings import own_windows
from avss_core.jobs.watched_training import forget
from avss_core.settings.params import Params
from flows.running.execution import run_in
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.history.stage_log import StageLog
from tasks.records import Repair
from tasks.repair import repair_model


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
        own=own_windows(params, params.repair, workspace.dense, workspace.prepared, run_in(params)),
        folder=workspace.repaired,
        resume=resume,
        provenance={
            "base": "pruned",
            "weights": read_json(workspace.dense / "model_card.json")["weights"],
        },
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
