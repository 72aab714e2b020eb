"""Evaluate one checkpoint on everything; used by the stages evaluate and mitigate and by the command line."""

from pathlib import Path
from typing import Any

from flows.params import Params
from tasks.evaluate import answer_set, sentiment, summarise_variant, text_loss


def evaluate_checkpoint(params: Params, prepared: Path, model: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of a checkpoint, and its answers by set; each set is one cached unit."""
    options = params.evaluate
    machine: dict[str, Any] = {"dtype": params.model.dtype, "device": params.model.device}
    answers = {
        name: answer_set(
            model,
            prepared / name / "test.jsonl",
            [prepared / name / "calibration.jsonl", prepared / name / "train.jsonl"],
            **machine,
            shots=options.shots,
            limit=options.limit,
            max_new_tokens=options.max_new_tokens,
            batch_size=options.batch_size,
            judge_name=options.judge,
        )
        for name in params.data.sets
    }
    text = text_loss(
        model,
        prepared / "text" / "test.json",
        **machine,
        tokens=options.tokens,
        window=options.window,
        stride=options.stride,
    )
    feeling = sentiment(
        model,
        prepared / "sst2" / "train.jsonl",
        prepared / "sst2" / "validation.jsonl",
        **machine,
        shots=options.sentiment_shots,
        limit=options.limit,
        batch_size=options.batch_size,
    )
    return summarise_variant(answers, text, feeling, seed=params.seed), answers


def figures_by_name(variant: str, figures: dict[str, Any]) -> dict[str, float | None]:
    """Return a model's figures as metrics named variant.set.figure."""
    metrics: dict[str, float | None] = {}
    for name, found in figures["sets"].items():
        for figure, entry in found.items():
            if isinstance(entry, dict) and "value" in entry:
                metrics[f"{variant}.{name}.{figure}"] = entry["value"]
    for figure, value in figures["language_modelling"].items():
        if isinstance(value, (int, float)):
            metrics[f"{variant}.text.{figure}"] = value
    metrics[f"{variant}.sentiment.accuracy"] = figures["sentiment"]["accuracy"]["value"]
    return metrics
