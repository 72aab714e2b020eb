"""Results in the layout of lm-evaluation-harness, for programs that read its `results_*.json`."""

import math
from collections.abc import Mapping
from typing import Any

_HIGHER = {
    "exact_match": True,
    "acc": True,
    "acc_at_50": True,
    "coverage_at_50": True,
    "ece": False,
    "brier": False,
}
_SOURCE = {
    "exact_match": "exact_match",
    "acc": "accuracy",
    "acc_at_50": "accuracy_at_50",
    "coverage_at_50": "coverage_at_50",
    "ece": "ece",
    "brier": "brier",
}
PREFIX = "avss_"
"""Starts the name of every task, so that nobody takes one for the harness's own."""

SOURCE = "avss"
"""What asked and judged."""

_LANGUAGE = {"word_perplexity": "word_perplexity", "byte_perplexity": "byte_perplexity"}


def harness_results(
    model: str, figures: Mapping[str, Any], *, dtype: str, device: str, shots: Mapping[str, int], seed: int
) -> dict[str, Any]:
    """Return one model's figures as `lm_eval` writes them.

    The tasks are called `avss_` and the name of the set, and their source is `avss`: the harness has tasks of
    some of these names, with other prompts and other judges.

    `shots` has the demonstrations of each set and of `sentiment`. Means have the standard error
    sqrt(p (1 - p) / (n - 1)) of the harness, other figures "N/A". There is no date, so
    equal runs give equal files.
    """
    tasks: dict[str, dict[str, Any]] = {}
    samples: dict[str, int] = {}
    for name, answered in figures["sets"].items():
        tasks[PREFIX + name] = _entries(
            {key: answered[source]["value"] for key, source in _SOURCE.items()},
            answered["n"],
            {"exact_match", "acc"},
        )
        samples[PREFIX + name] = answered["n"]
    reviews, text = figures["sentiment"], figures["language_modelling"]
    tasks[f"{PREFIX}sentiment"] = _entries({"acc": reviews["accuracy"]["value"]}, reviews["n"], {"acc"})
    samples[f"{PREFIX}sentiment"] = reviews["n"]
    tasks[f"{PREFIX}text"] = _entries({key: text[source] for key, source in _LANGUAGE.items()}, 1, set())
    samples[f"{PREFIX}text"] = 1
    questions = {PREFIX + name for name in figures["sets"]}
    shown = {PREFIX + name: count for name, count in shots.items()}
    return {
        "results": {name: {"alias": name, **entries} for name, entries in tasks.items()},
        "group_subtasks": {name: [] for name in tasks},
        "configs": {
            name: {
                "task": name,
                "num_fewshot": shown.get(name, 0),
                "output_type": "generate_until" if name in questions else "loglikelihood",
                "metric_list": [
                    {"metric": key, "aggregation": "mean", "higher_is_better": _HIGHER.get(key, False)}
                    for key in _metrics(entries)
                ],
                "metadata": {"version": 1.0, "source": SOURCE},
            }
            for name, entries in tasks.items()
        },
        "versions": dict.fromkeys(tasks, 1.0),
        "n-shot": {name: shown.get(name, 0) for name in tasks},
        "higher_is_better": {
            name: {key: _HIGHER.get(key, False) for key in _metrics(entries)}
            for name, entries in tasks.items()
        },
        "n-samples": {name: {"original": n, "effective": n} for name, n in samples.items()},
        "config": {
            "model": SOURCE,
            "model_args": f"pretrained={model},dtype={dtype}",
            "device": device,
            "limit": None,
            "random_seed": seed,
        },
        "model_source": SOURCE,
        "model_name": model,
        "model_name_sanitized": "".join(c if c.isalnum() or c in "._-" else "_" for c in model),
    }


def _entries(values: Mapping[str, float | None], n: int, means: set[str]) -> dict[str, Any]:
    """Return values and standard errors by the harness's keys; a figure without a value is left out."""
    entries: dict[str, Any] = {}
    for key, value in values.items():
        if value is not None:
            known = key in means and n > 1
            entries[f"{key},none"] = value
            entries[f"{key}_stderr,none"] = math.sqrt(value * (1 - value) / (n - 1)) if known else "N/A"
    return entries


def _metrics(entries: Mapping[str, Any]) -> list[str]:
    """Return the names of the figures among a task's entries."""
    names = (key.removesuffix(",none") for key in entries)
    return [name for name in names if not name.endswith("_stderr")]
