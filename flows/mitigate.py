"""Stage mitigate: contrastive LoRA on the most prone layers, and its controls, all evaluated the same way."""

from pathlib import Path
from typing import Any

from avss_core.digests import folder_written_whole, read_json, write_json
from flows.evaluation import evaluate_checkpoint, figures_by_name, machine_of
from flows.params import Params
from flows.stage import stage
from flows.workspace import Workspace
from tasks.answer_rows import read_answers, write_answers
from tasks.controls import compare_trainings, discarded, plan_trainings
from tasks.evaluate import divergence
from tasks.mitigate import train_layers
from tasks.tracking import StageLog

_TRAINING = (
    "epochs",
    "learning_rate",
    "batch_size",
    "rank",
    "alpha",
    "beta",
    "gamma",
    "temperature",
    "patience",
)


@stage("mitigate", ("seed", "model", "data", "evaluate", "mitigate"))
def mitigate(params: Params, workspace: Workspace) -> StageLog:
    """Train the prone layers alone, and beside them the controls; measure what each training changed."""
    options = params.mitigate
    base = {"dense": workspace.dense, "pruned": workspace.pruned}[options.base]
    localization = read_json(workspace.localization)
    plans = plan_trainings(
        base,
        localization["most_prone"],
        layers=options.layers,
        controls=options.controls,
        draws=options.random_draws,
        seed=params.seed,
    )
    trained = {}
    known = {"base": options.base, "weights": read_json(workspace.dense / "model_card.json")["weights"]}
    for name, plan in plans.items():
        if name == "mitigated":
            trained[name] = _trained(params, workspace, base, plan, workspace.mitigated, known)
        else:
            with discarded(workspace.control(name)) as folder:
                trained[name] = _trained(params, workspace, base, plan, folder, None)
    before = read_answers(workspace.evaluation / "answers.parquet", options.base)
    result = compare_trainings(before, trained, localization["readings"], base=options.base, seed=params.seed)
    with folder_written_whole(workspace.mitigation, replace=True) as part:
        write_json(part / "figures.json", result)
        write_answers(part / "answers.parquet", {name: found["answers"] for name, found in trained.items()})
    return StageLog(
        metrics=_metrics(result),
        tables={"mitigation.json": result},
        tags={
            "mitigated.path": str(workspace.mitigated),
            "trained_layers": str(result["training"]["dense_layers"]),
        },
    )


def training_settings(params: Params) -> dict[str, Any]:
    """Return the fields of `avss_core.mitigation.ContrastiveSettings`."""
    return {name: getattr(params.mitigate, name) for name in _TRAINING} | {"seed": params.seed}


def _trained(
    params: Params,
    workspace: Workspace,
    base: Path,
    plan: dict[str, Any],
    folder: Path,
    provenance: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the training, the figures, the answers and the divergence of one variant."""
    training = train_layers(
        base,
        workspace.prepared,
        params.data.sets,
        plan["layers"],
        **machine_of(params),
        pairs=params.mitigate.pairs,
        settings=training_settings(params) | plan["settings"],
        like=plan["like"],
        folder=folder,
        provenance=provenance,
        replace=True,
    )
    moved = divergence(
        base,
        folder,
        workspace.prepared / "text" / "test.json",
        **machine_of(params),
        tokens=params.evaluate.tokens,
        window=params.evaluate.window,
    )
    figures, answers = evaluate_checkpoint(params, workspace.prepared, folder)
    return {"training": training, "figures": figures, "answers": answers, "divergence": moved}


def _metrics(result: dict[str, Any]) -> dict[str, float | None]:
    """Return the figures of every variant by name."""
    metrics = figures_by_name("mitigated", result["mitigated"])
    metrics["mitigate.validation_loss"] = min(
        epoch["validation_loss"] for epoch in result["training"]["history"]
    )
    for name, found in result["controls"].items():
        metrics |= figures_by_name(f"control.{name}", found["figures"])
    return metrics
