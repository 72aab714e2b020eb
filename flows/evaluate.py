"""Stage evaluate: the dense, the pruned and the repaired model on the same questions, text and reviews."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avss_core.data.lineage import EVALUATED
from avss_core.files.writing import folder_written_whole, read_json, write_json
from avss_core.jobs.evaluation.checkpoint_evaluation import evaluation_jobs, joined, layer_jobs
from avss_core.jobs.standard_tasks.standard_tasks import tasks_of_models
from avss_core.settings.params import Params
from flows.running.execution import run
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.answers.answer_rows import read_answers, write_answers
from tasks.answers.harness import harness_results
from tasks.evaluate import (
    compare_variants,
    retained,
    summarise_layers,
    summarise_variant,
)
from tasks.history.stage_log import StageLog
from tasks.records import Evaluation, ModelFigures, ModelOnTasks


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
    resume = workspace.training / "tasks"
    models = {name: getattr(workspace, name) for name in jobs if name != "layers"}
    tasks = tasks_of_models(params, models, resume)
    answers = run(params, jobs, "evaluation")
    measured, records = {}, {}
    for variant in models:
        records[variant] = joined(answers[variant])
        measured[variant] = summarise_variant(records[variant], seed=params.seed)
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
    if tasks:
        figures["tasks"] = tasks
    name = read_json(workspace.dense / "model_card.json")["name"]
    with folder_written_whole(workspace.evaluation, replace=True) as part:
        write_json(part / "figures.json", figures)
        write_answers(part / "answers.parquet", records)
        if tasks:
            shutil.copytree(resume, part / "tasks")
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
    shutil.rmtree(resume, ignore_errors=True)
    return StageLog(
        metrics={
            key: value
            for variant, own in measured.items()
            for key, value in (
                figures_by_name(variant, own) | figures_of_tasks(variant, tasks.get(variant))
            ).items()
        },
        tables={"evaluation.json": figures},
        measured={variant: getattr(workspace, variant) for variant in measured},
    )


def as_evaluated(evaluation: Path, figures: ModelFigures, variant: str) -> dict[str, Any]:
    """Return the answers of a model and the losses of its windows of text, as the evaluation wrote them."""
    answers = read_answers(evaluation / "answers.parquet", variant)
    return answers | {"text": figures["language_modelling"]}


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


def figures_of_tasks(variant: str, tasks: ModelOnTasks | None) -> dict[str, float | None]:
    """Return a model's figures on standard tasks as metrics named variant.task.figure."""
    return {
        f"{variant}.{name}.{figure.replace(',', '.')}": entry["value"]
        for name, task in (tasks["figures"] if tasks else {}).items()
        for figure, entry in task["figures"].items()
    }
