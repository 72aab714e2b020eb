"""Evaluate a checkpoint by the settings of a run: on question sets, text and reviews, in units."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from avss_core.caching.kept_results import Run
from avss_core.data.rows import row_shards
from avss_core.jobs.evaluation.asking import judge_of
from avss_core.jobs.evaluation.evaluation_records import Abstention, ModelFigures
from avss_core.jobs.evaluation.questions import answer_set, join_answers, layer_answers
from avss_core.jobs.evaluation.reviews import sentiment
from avss_core.jobs.evaluation.summaries import summarise_variant
from avss_core.jobs.evaluation.text_losses import text_loss
from avss_core.judges.similarity import require_encoders
from avss_core.metrics.abstention import abstaining, threshold_for
from avss_core.settings.params import Params


def evaluate_checkpoint(
    params: Params, prepared: Path, model: Path, run: Run, *, score_given: bool = True
) -> tuple[ModelFigures, dict[str, Any]]:
    """Return the figures of a checkpoint, and the answers and losses that they summarise.

    Args:
        params: all of them.
        prepared: the folder of the prepared rows and text.
        model: a checkpoint folder.
        run: runs the units, and keeps what they return.
        score_given: as `evaluation_jobs`.
    """
    jobs = evaluation_jobs(params, prepared, model, score_given=score_given)
    record = joined(run(jobs, f"evaluation of {model.name}"))
    return summarise_variant(record, seed=params.seed), record


def evaluation_jobs(
    params: Params, prepared: Path, model: Path, *, score_given: bool = True
) -> dict[str, Any]:
    """Return the units that evaluate a checkpoint: `sets` by name and `sentiment` in shards, and `text`.

    `score_given` adds the likelihood of accepted and wrong answers, which takes as long as answering.

    Raises:
        ModuleNotFoundError: a judge needs a package that is not installed.
    """
    options, machine = params.evaluate, params.machine
    scored = options.scored_answers if score_given else 0
    questions = {name: _questions(params, prepared, name) for name in params.data.sets}
    if any(judge_of(asked["questions"], options.judge).name == "fitted" for asked in questions.values()):
        require_encoders()  # before any question is asked
    reviews = prepared / "sst2" / "validation.jsonl"
    return {
        "sets": {name: _answer_units(params, model, asked, scored) for name, asked in questions.items()},
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


def abstention(
    params: Params, prepared: Path, model: Path, run: Run, answers: Mapping[str, Any], risk: float
) -> dict[str, Abstention]:
    """Return by set how much a model answers, and how often wrongly, if it must be sure enough.

    Args:
        params: all of them.
        prepared: the folder of the prepared rows.
        model: a checkpoint folder.
        run: runs the units, and keeps what they return.
        answers: those to the test questions by set, as `evaluate_checkpoint` returned them.
        risk: share of the answers to validation questions that may be wrong; their confidence gives the
            threshold.
    """
    jobs = {
        name: _answer_units(params, model, _questions(params, prepared, name, "validation"), scored=0)
        for name in params.data.sets
    }
    found: dict[str, Abstention] = {}
    for name, shards in run(jobs, f"thresholds of {model.name}").items():
        asked = join_answers(shards)
        chosen_on, tested = (_columns(part) for part in (asked, answers[name]))
        threshold = threshold_for(*chosen_on, risk) if chosen_on[0] else None
        found[name] = {
            "risk": risk,
            "threshold": threshold,
            "validation": len(chosen_on[0]),
            "n": len(tested[0]),
            "judge": asked["judge"],
            **abstaining(*tested, threshold, params.seed),
        }
    return found


def _columns(answers: Mapping[str, Any]) -> tuple[list[float], list[bool]]:
    """Return confidence and verdict of each answer of a set."""
    rows = answers["answers"]
    return [row["confidence"] for row in rows], [row["correct"] for row in rows]


def joined(units: dict[str, Any]) -> dict[str, Any]:
    """Return the results of `evaluation_jobs` with shards joined: `sets` by name, `text` and `sentiment`."""
    return {
        "sets": {name: join_answers(shards) for name, shards in units["sets"].items()},
        "text": units["text"],
        "sentiment": {"answers": [row for shard in units["sentiment"] for row in shard["answers"]]},
    }


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


def _answer_units(
    params: Params, model: Path, asked: Mapping[str, Any], scored: int
) -> list[partial[dict[str, Any]]]:
    """Return the units that answer the questions of a part of a set, one a shard."""
    options = params.evaluate
    return [
        partial(answer_set, model, **asked, **shard, scored_answers=scored)
        for shard in row_shards(asked["questions"], options.limit, options.shard)
    ]


def _questions(params: Params, prepared: Path, name: str, part: str = "test") -> dict[str, Any]:
    """Return the arguments with which the questions of a part of a set are asked."""
    options = params.evaluate
    return {
        **params.machine,
        "questions": prepared / name / f"{part}.jsonl",
        "demonstrations": [prepared / name / "calibration.jsonl", prepared / name / "train.jsonl"],
        "shots": options.shots,
        "max_new_tokens": options.max_new_tokens,
        "batch_size": options.batch_size,
        "judge_name": options.judge,
        "chat": options.chat,
    }
