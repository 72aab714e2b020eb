"""`avss evaluate`: what a model answers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from avss_core.cli.options import AsJson, Data, Limit, Model, Revision, Set, Sets, params_of
from avss_core.cli.printing import Row, say_unless, show
from avss_core.cli.session import checkpoint, kept, loading, say_left_out, scratch
from avss_core.display.steps import working

if TYPE_CHECKING:
    from avss_core.jobs.evaluation.evaluation_records import EncoderFigures, ModelFigures
    from avss_core.settings.params import Params


COLUMNS = ("set", "figure", "n", "value", "low", "high", "judge")
"""Columns of the printed table."""


def evaluate(
    model: Model,
    sets: Sets = None,
    data: Data = None,
    limit: Limit = None,
    as_json: AsJson = False,
    changes: Set = None,
    revision: Revision = None,
) -> None:
    """Measure a model on question sets, language modelling and sentiment, with 95 % intervals.

    Of each set it gives accuracy, calibration and likelihood of the answers. Only
    test rows are asked; demonstrations come from train rows. What decides is in
    the section evaluate of params.yaml.

    An encoder is asked no question: it classifies the reviews, with its own head or
    with a linear one that is fitted to train reviews here, which is said; a head
    over its words is measured by the loss of hidden ones.

    Prints one row a figure, and writes nothing.

    Example: avss evaluate pruned --sets nq,sciq --limit 100
    """
    with working(f"evaluation of {model}"):
        params = params_of(model, revision, data, sets, changes, {"evaluate.limit": limit})
        figures = evaluate_model(params)
    if head := figures.get("head"):
        say_unless(as_json, f"head for reviews: {head}")
    show({"model": params.model.name, **figures}, figure_rows(figures), title=model, as_json=as_json)


def evaluate_model(params: "Params") -> "ModelFigures | EncoderFigures":
    """Return the figures of one model on the question sets, text and reviews; an encoder's without sets."""
    with loading():
        from avss_core.jobs.evaluation.checkpoint_evaluation import evaluate_checkpoint
        from avss_core.jobs.evaluation.encoder_figures import evaluate_encoder
        from avss_core.jobs.preparation import prepare_rows
        from avss_core.models.architectures import reads_both_ways
        from avss_core.models.loading import load_config
    with scratch() as folder:
        prepared = folder / "prepared"
        say_left_out(prepare_rows(params, prepared))
        if reads_both_ways(load_config(params.model.name, params.model.revision)):
            options = params.evaluate
            alone: EncoderFigures = evaluate_encoder(
                checkpoint(params, folder / "dense"),
                prepared,
                **params.machine,
                limit=options.limit,
                tokens=options.tokens,
                window=options.window,
                batch_size=options.batch_size,
                seed=params.seed,
            )
            return alone
        figures, _ = evaluate_checkpoint(params, prepared, checkpoint(params, folder / "dense"), kept(params))
    return figures


def figure_rows(figures: Mapping[str, Any]) -> list[Row]:
    """Return one row for each figure of an evaluation."""
    rows: list[Row] = [
        {"set": name, "figure": figure, "n": answers["n"], **entry, "judge": answers["judge"]}
        for name, answers in figures.get("sets", {}).items()
        for figure, entry in answers.items()
        if isinstance(entry, dict)
    ]
    text, reviews = figures["language_modelling"] or {}, figures["sentiment"]
    rows += [
        {"set": "text", "figure": figure, "value": value, "n": text["tokens"]}
        for figure, value in text.items()
        if figure == "nll" or figure.endswith("_perplexity")
    ]
    rows += [
        {"set": "sentiment", "figure": figure, **reviews[figure], "n": reviews["n"]}
        for figure in ("accuracy", "auroc")
    ]
    # The same columns with and without sets.
    return [{**dict.fromkeys(COLUMNS), **row} for row in rows]
