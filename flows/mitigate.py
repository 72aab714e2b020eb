"""Stage mitigate: contrastive LoRA on the most prone layers, and its controls, all evaluated the same way."""

from pathlib import Path
from typing import Any

from avss_core.data.lineage import EVALUATED
from avss_core.files.writing import folder_written_whole, read_json, write_json
from avss_core.jobs.evaluation.checkpoint_evaluation import abstention, evaluate_checkpoint
from avss_core.jobs.prone.checkpoint_mitigation import Replies, replies_of, training_settings
from avss_core.jobs.watched_training import forget, machine_metrics
from avss_core.settings.params import Params
from avss_core.training.history import best_epoch
from flows.evaluate import as_evaluated, figures_by_name
from flows.running.execution import run_in
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.answers.answer_rows import read_answers, write_answers
from tasks.history.stage_log import StageLog
from tasks.mitigate import train_layers
from tasks.records import Mitigation
from tasks.training.controls import Plan, TrainedVariant, compare_trainings, discarded, plan_trainings
from tasks.training.divergence import divergence


@stage(
    "mitigate",
    ("seed", "model", "data", "repair", "evaluate", "mitigate"),
    reads=(*EVALUATED, "questions/validation", "text/calibration"),
)
def mitigate(params: Params, workspace: Workspace) -> StageLog:
    """Train the prone layers, and each control; measure what each training changed."""
    options = params.mitigate
    base = getattr(workspace, options.base)
    answered = workspace.healing if options.base == "healed" else workspace.evaluation
    localization = read_json(workspace.localization)
    plans = plan_trainings(
        base,
        localization["most_prone"],
        layers=options.layers,
        controls=options.controls,
        draws=options.random_draws,
        seed=params.seed,
    )
    # A run that was killed may have left some.
    forget(workspace.controls)
    trained = {}
    known = {"base": options.base, "weights": read_json(workspace.dense / "model_card.json")["weights"]}
    replies = replies_of(params, base, workspace.prepared, run_in(params))
    for name, plan in plans.items():
        if name == "mitigated":
            trained[name] = _trained(params, workspace, base, name, plan, replies, workspace.mitigated, known)
        else:
            with discarded(workspace.controls / name) as folder:
                trained[name] = _trained(params, workspace, base, name, plan, replies, folder, None)
    before = read_answers(answered / "answers.parquet", options.base)
    dense = read_json(workspace.evaluation / "figures.json")["dense"]
    result = compare_trainings(
        before,
        trained,
        localization["readings"],
        dense=as_evaluated(workspace.evaluation, dense, "dense"),
        base=options.base,
        seed=params.seed,
    )
    if params.evaluate.abstain_at is not None:
        result["abstention"] = {
            name: abstention(
                params, workspace.prepared, model, run_in(params), answers["sets"], params.evaluate.abstain_at
            )
            for name, model, answers in (
                (options.base, base, before),
                ("mitigated", workspace.mitigated, trained["mitigated"]["answers"]),
            )
        }
    with folder_written_whole(workspace.mitigation, replace=True) as part:
        write_json(part / "figures.json", result)
        write_answers(part / "answers.parquet", {name: each["answers"] for name, each in trained.items()})
    forget(workspace.training / "mitigate")
    return StageLog(
        metrics=_metrics(result, {name: variant["machine"] for name, variant in trained.items()}),
        tables={"mitigation.json": result},
        tags={"trained_layers": str(result["training"]["dense_layers"])},
        checkpoints={"mitigated": workspace.mitigated},
    )


def _trained(
    params: Params,
    workspace: Workspace,
    base: Path,
    name: str,
    plan: Plan,
    replies: Replies,
    folder: Path,
    provenance: dict[str, Any] | None,
) -> TrainedVariant:
    """Return the training, the figures, the answers and the divergence of one variant."""
    options = training_settings(params)
    options["settings"] |= plan["settings"]
    training, machine = train_layers(
        base,
        workspace.prepared,
        layers=plan["layers"],
        like=plan["like"],
        replies=replies,
        folder=folder,
        provenance=provenance,
        **options,
        resume=workspace.training / "mitigate",
        name=_curve(name),
    )
    moved = divergence(
        base,
        folder,
        workspace.prepared / "text" / "test.json",
        **params.machine,
        tokens=params.evaluate.tokens,
        window=params.evaluate.window,
    )
    # Controls are not compared by the likelihood of given answers.
    figures, answers = evaluate_checkpoint(
        params, workspace.prepared, folder, run_in(params), score_given=name == "mitigated"
    )
    return {
        "training": training,
        "machine": machine,
        "figures": figures,
        "answers": answers,
        "divergence": moved,
    }


def _metrics(result: Mitigation, machines: dict[str, dict[str, float | None]]) -> dict[str, float | None]:
    """Return the figures of every variant by name, and the time and memory of its training."""
    metrics = figures_by_name("mitigated", result["mitigated"])
    metrics["mitigate.validation_loss"] = best_epoch(result["training"]["history"])["validation_loss"]
    for name, control in result["controls"].items():
        metrics |= figures_by_name(f"control.{name}", control["figures"])
    for name, machine in machines.items():
        metrics |= machine_metrics(_curve(name), machine)
    return metrics


def _curve(name: str) -> str:
    """Return the name of a variant's curves."""
    return "mitigate" if name == "mitigated" else f"control.{name}"
