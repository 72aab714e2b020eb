"""Evaluate a checkpoint: questions, language modelling and sentiment, each a cached unit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task

from avss_core.answers import default_judge, judge
from avss_core.batches import token_stream
from avss_core.comparison import mean_with_interval, paired_difference
from avss_core.generation import answer_questions, few_shot_prompt
from avss_core.perplexity import language_modelling
from avss_core.sentiment import balanced_demonstrations, predict_sentiment
from avss_core.summary import summarise
from tasks.loaded import model_at
from tasks.progress import progress
from tasks.rows import read_documents, read_prepared
from tasks.units import unit


@unit("answer-set")
def answer_set(
    model: Path,
    questions: Path,
    demonstrations: Sequence[Path],
    *,
    dtype: str,
    device: str,
    shots: int,
    limit: int | None,
    max_new_tokens: int,
    batch_size: int,
    judge_name: str,
) -> dict[str, Any]:
    """Return every answer to a set's test questions with confidence and verdicts.

    The demonstrations are the first rows of the given files, the same for every model.
    """
    network, tokenizer = model_at(model, dtype, device)
    name = questions.parent.name
    verdict = judge(default_judge(name) if judge_name == "default" else judge_name)
    exact = judge("exact")
    shown = [(row["question"], row["answers"][0]) for path in demonstrations for row in read_prepared(path)]
    rows = read_prepared(questions)[:limit]
    prompts = [few_shot_prompt(shown[:shots], row["question"]) for row in rows]
    with progress(f"questions of {name}", len(rows)) as advance:
        answers = answer_questions(
            network,
            tokenizer,
            prompts,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            progress=advance,
        )
    return {
        "judge": verdict.name,
        "shots": min(shots, len(shown)),
        "answers": [
            {
                "id": row["id"],
                "answer": answer.text,
                "confidence": answer.confidence,
                "correct": verdict.verdict(answer.text, row["answers"]),
                "exact": exact.verdict(answer.text, row["answers"]),
            }
            for row, answer in zip(rows, answers, strict=True)
        ],
    }


@unit("language-modelling")
def text_loss(
    model: Path, text: Path, *, dtype: str, device: str, tokens: int, window: int, stride: int | None
) -> dict[str, Any]:
    """Return the loss and the perplexities of the test text.

    With a stride below the window, so many tokens of each window are predicted, and those before them read.
    """
    network, tokenizer = model_at(model, dtype, device)
    stride = stride or window
    context = window - stride
    ids = token_stream(tokenizer, read_documents(text), tokens + context + 1)
    text_of = str(tokenizer.decode(ids[context + 1 :]))
    with progress("language modelling", max(0, len(ids) - 1 - context) // stride) as advance:
        found = language_modelling(network, ids, text_of, window=stride, context=context, progress=advance)
    return {
        "nll": found.nll_per_token,
        "tokens": found.tokens,
        "window": window,
        "stride": stride,
        "window_means": list(found.window_means),
        **found.perplexities(),
    }


@unit("sentiment")
def sentiment(
    model: Path,
    train: Path,
    test: Path,
    *,
    dtype: str,
    device: str,
    shots: int,
    limit: int | None,
    batch_size: int,
) -> dict[str, Any]:
    """Return the predicted label of every review with its true one."""
    network, tokenizer = model_at(model, dtype, device)
    shown = balanced_demonstrations(read_prepared(train), shots)
    rows = read_prepared(test)[:limit]
    with progress("sentiment", 2 * len(rows)) as advance:
        labels = predict_sentiment(
            network, tokenizer, shown, [row["text"] for row in rows], batch_size=batch_size, progress=advance
        )
    return {
        "answers": [
            {"id": row["id"], "predicted": label, "label": row["label"], "correct": label == row["label"]}
            for row, label in zip(rows, labels, strict=True)
        ]
    }


@task(name="summarise-variant")
def summarise_variant(
    sets: Mapping[str, Mapping[str, Any]], text: Mapping[str, Any], feeling: Mapping[str, Any], *, seed: int
) -> dict[str, Any]:
    """Return the figures of one model, each with n and a 95 % bootstrap interval."""
    reviews = feeling["answers"]
    return {
        "sets": {name: _set_figures(found, seed) for name, found in sets.items()},
        "language_modelling": {key: value for key, value in text.items() if key != "window_means"}
        | {"window_mean": mean_with_interval(text["window_means"], seed)},
        "sentiment": {
            "n": len(reviews),
            "accuracy": mean_with_interval([row["correct"] for row in reviews], seed),
            "predicted_positive": mean_with_interval([row["predicted"] for row in reviews], seed)["value"],
        },
    }


@task(name="compare-variants")
def compare_variants(before: Mapping[str, Any], after: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """Return, for each set, after minus before on the same questions with paired intervals."""
    return {
        name: paired_difference(before[name]["answers"], found["answers"], seed)
        for name, found in after.items()
    }


def _set_figures(found: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the figures of one set's answers."""
    rows = found["answers"]
    return {
        **summarise([row["confidence"] for row in rows], [row["correct"] for row in rows], seed),
        "exact_match": mean_with_interval([row["exact"] for row in rows], seed),
        "answered": mean_with_interval([bool(row["answer"]) for row in rows], seed)["value"],
        "judge": found["judge"],
        "shots": found["shots"],
    }
