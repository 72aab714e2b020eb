"""Ask a set's test questions: the model's answers, and the answers read out at each layer; cached units."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avss_core.caching.loaded_model import model_at
from avss_core.caching.unit import unit
from avss_core.data.rows import read_prepared
from avss_core.display.steps import progress, working
from avss_core.evaluation.generation import answer_questions
from avss_core.evaluation.likelihood import gold_nll, preference_margin
from avss_core.evaluation.readout import answers_by_layer
from avss_core.jobs.evaluation.asking import judge_of, prompts_of, shown, verdicts_on
from avss_core.judges.judges import JUDGES, judge
from avss_core.models.architectures import depth
from avss_core.models.room import BatchSize


@unit("answer-set")
def answer_set(
    model: Path,
    questions: Path,
    demonstrations: Sequence[Path],
    *,
    dtype: str,
    device: str,
    shots: int,
    first: int,
    last: int,
    max_new_tokens: int,
    batch_size: BatchSize,
    judge_name: str,
    chat: bool,
    scored_answers: int,
) -> dict[str, Any]:
    """Return the answers to a run of a set's questions with confidence, verdicts and scores of given answers.

    The run is from `first` up to, but without, `last`; `join_answers` joins runs. The likelihood of the first
    `scored_answers` accepted answers to each question, and of as many wrong ones, is measured. The
    demonstrations are the first rows of the given files that do not ask the question itself, the same for
    every model; those that do not fit a model's context are counted as dropped.
    """
    network, tokenizer = model_at(model, dtype, device)
    rows = read_prepared(questions, first, last)
    examples = shown(demonstrations)
    prompts = prompts_of(network, tokenizer, rows, examples, shots=shots, new=max_new_tokens, chat=chat)
    accepted, wrong = (
        [_scored(row[field], scored_answers) for row in rows] for field in ("answers", "wrong_answers")
    )
    space = "" if chat else " "
    with progress(f"questions of {questions.parent.name}", len(rows), "questions") as advance:
        answers = answer_questions(
            network,
            tokenizer,
            [prompt.text for prompt in prompts],
            given=[[space + text for text in [*a, *w]] for a, w in zip(accepted, wrong, strict=True)],
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            progress=advance,
        )
    judged_by, texts = judge_of(questions, judge_name), [answer.text for answer in answers]
    with working(f"judging answers of {questions.parent.name}"):
        verdicts = {
            name: verdicts_on(judge(name), rows, texts) for name in dict.fromkeys([*_SHOWN, judged_by.name])
        }
    return {
        "judge": judged_by.name,
        "shots": min(shots, len(examples)),
        "dropped_demonstrations": sum(prompt.dropped for prompt in prompts),
        "answers": [
            {
                "id": row["id"],
                "prompt": hashlib.sha256(prompt.text.encode()).hexdigest(),
                "answer": answer.text,
                "confidence": answer.confidence,
                "correct": verdicts[judged_by.name][place],
                "verdicts": {name: said[place] for name, said in verdicts.items()},
                "dropped_demonstrations": prompt.dropped,
                **_likelihoods(answer.given, len(truths)),
            }
            for place, (row, prompt, truths, answer) in enumerate(
                zip(rows, prompts, accepted, answers, strict=True)
            )
        ],
    }


@unit("layer-answers")
def layer_answers(
    model: Path,
    questions: Path,
    demonstrations: Sequence[Path],
    *,
    dtype: str,
    device: str,
    shots: int,
    limit: int,
    step: int,
    max_new_tokens: int,
    batch_size: BatchSize,
    judge_name: str,
    chat: bool,
) -> dict[str, Any]:
    """Return confidence and correctness of the answers to a set's first questions, read out at layers.

    The layers are every `step`-th one, up to and with the last.
    """
    network, tokenizer = model_at(model, dtype, device)
    rows = read_prepared(questions, last=limit)
    examples = shown(demonstrations)
    prompts = prompts_of(network, tokenizer, rows, examples, shots=shots, new=max_new_tokens, chat=chat)
    layers = range((depth(network.config) - 1) % step, depth(network.config), step)
    with progress(f"layers on {questions.parent.name}", len(rows) * len(layers), "answers") as advance:
        by_layer = answers_by_layer(
            network,
            tokenizer,
            [prompt.text for prompt in prompts],
            layers=layers,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            progress=advance,
        )
    judged_by = judge_of(questions, judge_name)
    if judged_by.name == "fitted":  # its encoders would run for the answers of every layer
        judged_by = judge("fitted_lexical")
    return {
        "judge": judged_by.name,
        "n": len(rows),
        "layers": [
            {
                "layer": layer,
                "confidence": [answer.confidence for answer in answers],
                "correct": verdicts_on(judged_by, rows, [answer.text for answer in answers]),
            }
            for layer, answers in by_layer.items()
        ],
    }


def join_answers(shards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the answers to several runs of one set's questions together, in order."""
    return {
        **shards[0],
        "dropped_demonstrations": sum(shard["dropped_demonstrations"] for shard in shards),
        "answers": [answer for shard in shards for answer in shard["answers"]],
    }


_SHOWN = tuple(name for name in JUDGES.own if not name.startswith("fitted"))
"""Judges whose verdicts stand beside that of the set's own judge: those that need only words."""


def _scored(texts: Sequence[str], count: int) -> list[str]:
    """Return the answers whose likelihood is measured."""
    return [text.strip() for text in texts if text.strip()][:count]


def _likelihoods(given: Sequence[float | None], truths: int) -> dict[str, Any]:
    """Return the figures of scored answers; the first `truths` are accepted ones."""
    accepted, wrong = (
        [score for score in part if score is not None] for part in (given[:truths], given[truths:])
    )
    margin = preference_margin(accepted, wrong)
    return {
        "gold_nll": gold_nll(accepted),
        "preference_margin": margin,
        "preference": None if margin is None else margin > 0,
    }
