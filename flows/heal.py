"""Stage heal: the repaired model learns from the dense one, and is evaluated the same way."""

import shutil

from avss_core.data.lineage import EVALUATED
from avss_core.files.writing import folder_written_whole, read_json, write_json
from avss_core.jobs.checkpoint_healing import healing_settings
from avss_core.jobs.evaluation.checkpoint_evaluation import evaluate_checkpoint
from avss_core.jobs.mixture_settings import own_windows
from avss_core.jobs.standard_tasks.standard_tasks import tasks_of_models
from avss_core.jobs.watched_training import forget, machine_metrics
from avss_core.settings.params import Params
from avss_core.training.history import best_epoch
from flows.evaluate import as_evaluated, figures_by_name, figures_of_tasks
from flows.running.execution import run_in
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.answers.answer_rows import write_answers
from tasks.evaluate import compare_variants, retained
from tasks.heal import heal_model
from tasks.history.stage_log import StageLog


@stage(
    "heal",
    ("seed", "model", "data", "collect", "score", "repair", "evaluate", "heal"),
    reads=(*EVALUATED, "questions/validation", "text/calibration"),
)
def heal(params: Params, workspace: Workspace) -> StageLog:
    """Heal the repaired model, or the pruned one, and measure what that brought back."""
    if not params.heal.enabled:
        with folder_written_whole(workspace.healed, replace=True):
            pass
        with folder_written_whole(workspace.healing, replace=True) as part:
            write_json(part / "figures.json", {"enabled": False})
        return StageLog(tags={"healed": "no"}, left_out="heal.enabled")
    resume = workspace.training / "heal"
    base = "repaired" if params.repair.enabled else "pruned"
    training, machine = heal_model(
        workspace.repaired if params.repair.enabled else workspace.pruned,
        workspace.dense,
        workspace.prepared,
        params.data.sets,
        own=own_windows(params, params.heal, workspace.dense, workspace.prepared, run_in(params)),
        folder=workspace.healed,
        resume=resume,
        provenance={
            "base": base,
            "weights": read_json(workspace.dense / "model_card.json")["weights"],
        },
        **healing_settings(params),
    )
    asked = workspace.training / "healed-tasks"
    if params.evaluate.tasks:  # the dense model was asked them by the stage evaluate
        shutil.copytree(workspace.evaluation / "tasks/dense", asked / "dense", dirs_exist_ok=True)
    models = {"dense": workspace.dense, "healed": workspace.healed}
    tasks = tasks_of_models(params, models, asked).get("healed")
    figures, answers = evaluate_checkpoint(params, workspace.prepared, workspace.healed, run_in(params))
    evaluation = read_json(workspace.evaluation / "figures.json")
    figures_before = evaluation["repaired"]["figures"] if params.repair.enabled else evaluation["pruned"]
    kept_before = evaluation["repaired"]["retention"] if params.repair.enabled else evaluation["retention"]
    dense = as_evaluated(workspace.evaluation, evaluation["dense"], "dense")
    before = as_evaluated(workspace.evaluation, figures_before, base)
    result = {
        "enabled": True,
        "base": base,
        "training": training,
        "healed": figures,
        "retention": {
            "before": kept_before,
            "after": retained(dense, answers, seed=params.seed),
        },
        "healed_against_base": compare_variants(before, answers, seed=params.seed),
    }
    if tasks:
        result["tasks"] = tasks
    with folder_written_whole(workspace.healing, replace=True) as part:
        write_json(part / "figures.json", result)
        write_answers(part / "answers.parquet", {"healed": answers})
        if tasks:
            shutil.copytree(asked / "healed", part / "tasks")
    for folder in (resume, asked):
        forget(folder)
    return StageLog(
        metrics=figures_by_name("healed", figures)
        | figures_of_tasks("healed", tasks)
        | machine_metrics("heal", machine)
        | {"heal.validation_loss": best_epoch(training["history"])["validation_loss"]},
        tables={"healing.json": result},
        checkpoints={"healed": workspace.healed},
    )
