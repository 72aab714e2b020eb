"""Evaluate one checkpoint on everything; used by every stage that makes one and by the command line."""

from pathlib import Path
from typing import Any

from flows.params import Params
from tasks.evaluate import sentiment, summarise_layers, summarise_variant, text_loss
from tasks.questions import answer_set, layer_answers


def evaluate_checkpoint(
    params: Params, prepared: Path, model: Path, *, score_given: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of a checkpoint, and what they are of: `sets`, `text`, `sentiment`, cached units.

    Without `score_given` the likelihood of accepted and wrong answers is left out, which takes as long as
    answering.
    """
    options, machine = params.evaluate, machine_of(params)
    scored = options.scored_answers if score_given else 0
    record = {
        "sets": {
            name: answer_set(
                model, **_questions(params, prepared, name), limit=options.limit, scored_answers=scored
            )
            for name in params.data.sets
        },
        "text": text_loss(
            model,
            prepared / "text" / "test.json",
            **machine,
            tokens=options.tokens,
            window=options.window,
            stride=options.stride,
        ),
        "sentiment": sentiment(
            model,
            prepared / "sst2" / "train.jsonl",
            prepared / "sst2" / "validation.jsonl",
            **machine,
            shots=options.sentiment_shots,
            limit=options.limit,
            batch_size=options.batch_size,
        ),
    }
    return summarise_variant(record, seed=params.seed), record


def evaluate_layers(params: Params, prepared: Path, model: Path) -> dict[str, Any] | None:
    """Return the figures of the answers read out at each layer; None where none shall be."""
    count = min(params.evaluate.layer_questions, params.evaluate.limit or params.evaluate.layer_questions)
    if count == 0:
        return None
    found = {
        name: layer_answers(
            model, **_questions(params, prepared, name), limit=count, step=params.evaluate.layer_step
        )
        for name in params.data.sets
    }
    return summarise_layers(found, seed=params.seed)


def figures_by_name(variant: str, figures: dict[str, Any]) -> dict[str, float | None]:
    """Return a model's figures as metrics named variant.set.figure."""
    metrics: dict[str, float | None] = {}
    for name, found in figures["sets"].items():
        for figure, entry in found.items():
            if isinstance(entry, dict) and "value" in entry:
                metrics[f"{variant}.{name}.{figure}"] = entry["value"]
    for figure, value in figures["language_modelling"].items():
        if figure == "nll" or figure.endswith("_perplexity"):
            metrics[f"{variant}.text.{figure}"] = value
    metrics[f"{variant}.sentiment.accuracy"] = figures["sentiment"]["accuracy"]["value"]
    return metrics


def machine_of(params: Params) -> dict[str, Any]:
    """Return where and in which precision a model runs."""
    return {"dtype": params.model.dtype, "device": params.model.device}


def _questions(params: Params, prepared: Path, name: str) -> dict[str, Any]:
    """Return how the test questions of a set are asked."""
    options = params.evaluate
    return {
        **machine_of(params),
        "questions": prepared / name / "test.jsonl",
        "demonstrations": [prepared / name / "calibration.jsonl", prepared / name / "train.jsonl"],
        "shots": options.shots,
        "max_new_tokens": options.max_new_tokens,
        "batch_size": options.batch_size,
        "judge_name": options.judge,
        "chat": options.chat,
    }
