"""Stage evaluate: the dense, the pruned and the repaired model on the same questions, text and reviews."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from avss_core.data.lineage import EVALUATED
from avss_core.data.rows import row_shards
from avss_core.files.writing import folder_written_whole, read_json, write_json
from avss_core.settings.params import Params
from flows.running.execution import run
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.answers.answer_rows import read_answers, write_answers
from tasks.answers.harness import harness_results
from tasks.answers.questions import answer_set, join_answers, layer_answers
from tasks.evaluate import (
    compare_variants,
    retained,
    sentiment,
    summarise_layers,
    summarise_variant,
    text_loss,
)
from tasks.history.stage_log import StageLog
from tasks.records import Evaluation, ModelFigures


@stage("evaluate", ("seed", "model", "data", "repair", "evaluate"), reads=EVALUATED)
def evaluate(params: Params, workspace: Workspace) -> StageLog:
    """Measure what pruning cost, what repair brought back, and what the dense model answers at each layer."""
    jobs = {
        "dense": evaluation_jobs(params, workspace.prepared, workspace.dense),
        "layers": layer_jobs(params, workspace.prepared, workspace.dense),
        "pruned": evaluation_jobs(params, workspace.prepared, workspace.pruned),
    }
    if params.repair.enabled:
        jobs["repaired"] = evaluation_jobs(params, workspace.prepared, workspace.repaired)
    answers = run(params, jobs, "evaluation")
    measured, records = {}, {}
    for variant in [name for name in jobs if name != "layers"]:
        measured[variant], records[variant] = figures_of(params, answers[variant])
    layers = summarise_layers(answers["layers"], seed=params.seed) if answers["layers"] else None
    figures: Evaluation = {
        "dense": measured["dense"],
        "pruned": measured["pruned"],
        "pruned_against_dense": compare_variants(records["dense"], records["pruned"], seed=params.seed),
        "retention": retained(records["dense"], records["pruned"], seed=params.seed),
        "layers": layers,
    }
    if params.repair.enabled:
        figures["repaired"] = {
            "figures": measured["repaired"],
            "against_dense": compare_variants(records["dense"], records["repaired"], seed=params.seed),
            "against_pruned": compare_variants(records["pruned"], records["repaired"], seed=params.seed),
            "retention": retained(records["dense"], records["repaired"], seed=params.seed),
        }
    name = read_json(workspace.dense / "model_card.json")["name"]
    with folder_written_whole(workspace.evaluation, replace=True) as part:
        write_json(part / "figures.json", figures)
        write_answers(part / "answers.parquet", records)
        for variant, own in measured.items():
            results = harness_results(
                f"{name} ({variant})",
                own,
                **params.machine,
                shots={
                    **{name: answers["shots"] for name, answers in own["sets"].items()},
                    "sentiment": params.evaluate.sentiment_shots,
                },
                seed=params.seed,
            )
            write_json(part / f"results_{variant}.json", results)
    return StageLog(
        metrics={
            key: value
            for variant, own in measured.items()
            for key, value in figures_by_name(variant, own).items()
        },
        tables={"evaluation.json": figures},
        measured={variant: getattr(workspace, variant) for variant in measured},
    )


def evaluate_checkpoint(
    params: Params, prepared: Path, model: Path, *, score_given: bool = True
) -> tuple[ModelFigures, dict[str, Any]]:
    """Return the figures of a checkpoint, and the answers and losses that they summarize."""
    jobs = evaluation_jobs(params, prepared, model, score_given=score_given)
    return figures_of(params, run(params, jobs, f"evaluation of {model.name}"))


def as_evaluated(evaluation: Path, figures: ModelFigures, variant: str) -> dict[str, Any]:
    """Return the answers of a model and the losses of its windows of text, as the evaluation wrote them."""
    answers = read_answers(evaluation / "answers.parquet", variant)
    return answers | {"text": figures["language_modelling"]}


def evaluation_jobs(
    params: Params, prepared: Path, model: Path, *, score_given: bool = True
) -> dict[str, Any]:
    """Return the units that evaluate a checkpoint: `sets` by name and `sentiment` in shards, and `text`.

    `score_given` adds the likelihood of accepted and wrong answers, which takes as long as answering.
    """
    options, machine = params.evaluate, params.machine
    scored = options.scored_answers if score_given else 0
    questions = {name: _questions(params, prepared, name) for name in params.data.sets}
    reviews = prepared / "sst2" / "validation.jsonl"
    return {
        "sets": {
            name: [
                partial(answer_set, model, **asked, **shard, scored_answers=scored)
                for shard in row_shards(asked["questions"], options.limit, options.shard)
            ]
            for name, asked in questions.items()
        },
        "text": partial(
            text_loss,
            model,
            prepared / "text" / "test.json",
            **machine,
            tokens=options.tokens,
            window=options.window,
            stride=options.stride,
        ),
        "sentiment": [
            partial(
                sentiment,
                model,
                prepared / "sst2" / "train.jsonl",
                reviews,
                **machine,
                **shard,
                shots=options.sentiment_shots,
                batch_size=options.batch_size,
            )
            for shard in row_shards(reviews, options.limit, options.shard)
        ],
    }


def figures_of(params: Params, units: dict[str, Any]) -> tuple[ModelFigures, dict[str, Any]]:
    """Return the figures of the results of `evaluation_jobs`, and these results with shards joined."""
    record = {
        "sets": {name: join_answers(shards) for name, shards in units["sets"].items()},
        "text": units["text"],
        "sentiment": {"answers": [row for shard in units["sentiment"] for row in shard["answers"]]},
    }
    return summarise_variant(record, seed=params.seed), record


def layer_jobs(params: Params, prepared: Path, model: Path) -> dict[str, Any]:
    """Return the units that read answers out at each layer, by set; empty if `layer_questions` is 0."""
    count = min(params.evaluate.layer_questions, params.evaluate.limit or params.evaluate.layer_questions)
    return {
        name: partial(
            layer_answers,
            model,
            **_questions(params, prepared, name),
            limit=count,
            step=params.evaluate.layer_step,
        )
        for name in params.data.sets
        if count
    }


def figures_by_name(variant: str, figures: Mapping[str, Any]) -> dict[str, float | None]:
    """Return a model's figures as metrics named variant.set.figure."""
    metrics: dict[str, float | None] = {}
    for name, answers in figures["sets"].items():
        for figure, entry in answers.items():
            if isinstance(entry, dict) and "value" in entry:
                metrics[f"{variant}.{name}.{figure}"] = entry["value"]
    for figure, value in figures["language_modelling"].items():
        if figure == "nll" or figure.endswith("_perplexity"):
            metrics[f"{variant}.text.{figure}"] = value
    for figure in ("accuracy", "auroc"):
        metrics[f"{variant}.sentiment.{figure}"] = figures["sentiment"][figure]["value"]
    return metrics


def _questions(params: Params, prepared: Path, name: str) -> dict[str, Any]:
    """Return the arguments with which the test questions of a set are asked."""
    options = params.evaluate
    return {
        **params.machine,
        "questions": prepared / name / "test.jsonl",
        "demonstrations": [prepared / name / "calibration.jsonl", prepared / name / "train.jsonl"],
        "shots": options.shots,
        "max_new_tokens": options.max_new_tokens,
        "batch_size": options.batch_size,
        "judge_name": options.judge,
        "chat": options.chat,
    }
