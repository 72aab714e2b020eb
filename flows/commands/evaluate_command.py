"""`avss evaluate`: what a model answers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flows.commands.options import AsJson, Data, Limit, Model, Revision, Set, Sets, Verbose, params_of
from flows.commands.printing import Row, show
from flows.running.session import as_flow, at_work, checkpoint, loading, scratch
from tasks.records import ModelFigures

if TYPE_CHECKING:
    from flows.settings.params import Params


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
        params = params_of(model, revision, data, sets, changes, {"evaluate.limit": limit})
        figures = as_flow("evaluate-model", evaluate_model, params)
    show({"model": params.model.name, **figures}, figure_rows(figures), title=model, as_json=as_json)


def evaluate_model(params: "Params") -> ModelFigures:
    """Return the figures of one model on the question sets, text and reviews."""
    with loading():
        from flows.evaluate import evaluate_checkpoint
        from flows.prepare import prepare_rows
    with scratch() as workspace:
        prepare_rows(params, workspace)
        figures, _ = evaluate_checkpoint(params, workspace.prepared, checkpoint(params, workspace))
    return figures


def figure_rows(figures: Mapping[str, Any]) -> list[Row]:
    """Return one row for each figure of an evaluation."""
    rows: list[Row] = [
        {"set": name, "figure": figure, "n": answers["n"], **entry, "judge": answers["judge"]}
        for name, answers in figures["sets"].items()
        for figure, entry in answers.items()
        if isinstance(entry, dict)
    ]
    text, reviews = figures["language_modelling"], figures["sentiment"]
    rows += [
        {"set": "text", "figure": figure, "value": value, "n": text["tokens"]}
        for figure, value in text.items()
        if figure == "nll" or figure.endswith("_perplexity")
    ]
    return rows + [
        {"set": "sentiment", "figure": figure, **reviews[figure], "n": reviews["n"]}
        for figure in ("accuracy", "auroc")
    ]
