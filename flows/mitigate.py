"""Stage mitigate: contrastive LoRA on the most prone layers, merged, certified and evaluated the same way."""

from typing import Any

from avss_core.digests import folder_written_whole, read_json, write_json
from flows.evaluation import evaluate_checkpoint, figures_by_name
from flows.params import Params
from flows.stage import stage
from flows.workspace import Workspace
from tasks.answer_rows import read_answers, write_answers
from tasks.evaluate import compare_variants
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
    """Train the prone layers alone, and measure what that changed."""
    options = params.mitigate
    base = {"dense": workspace.dense, "pruned": workspace.pruned, "healed": workspace.healed}[options.base]
    answered = workspace.healing if options.base == "healed" else workspace.evaluation
    training = train_layers(
        base,
        workspace.prepared,
        params.data.sets,
        read_json(workspace.localization)["most_prone"],
        dtype=params.model.dtype,
        device=params.model.device,
        layers=options.layers,
        pairs=options.pairs,
        settings=training_settings(params),
        folder=workspace.mitigated,
        provenance={
            "base": options.base,
            "weights": read_json(workspace.dense / "model_card.json")["weights"],
        },
        replace=True,
    )
    figures, answers = evaluate_checkpoint(params, workspace.prepared, workspace.mitigated)
    before = read_answers(answered / "answers.parquet", options.base)
    result = {
        "base": options.base,
        "training": training,
        "mitigated": figures,
        "mitigated_against_base": compare_variants(before, answers, seed=params.seed),
    }
    with folder_written_whole(workspace.mitigation, replace=True) as part:
        write_json(part / "figures.json", result)
        write_answers(part / "answers.parquet", {"mitigated": answers})
    return StageLog(
        metrics=figures_by_name("mitigated", figures)
        | {"mitigate.validation_loss": min(e["validation_loss"] for e in training["history"])},
        tables={"mitigation.json": result},
        tags={"mitigated.path": str(workspace.mitigated), "trained_layers": str(training["dense_layers"])},
    )


def training_settings(params: Params) -> dict[str, Any]:
    """Return the fields of `avss_core.mitigation.ContrastiveSettings`."""
    return {name: getattr(params.mitigate, name) for name in _TRAINING} | {"seed": params.seed}
