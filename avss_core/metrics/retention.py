"""What a model keeps of another one's figures: ratios on the same questions and text, and a gate on them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avss_core.metrics.bootstrap import as_record, draws
from avss_core.metrics.columns import Column, Values, as_array
from avss_core.metrics.comparison import Answered, paired

Record = dict[str, float | None]
"""value, low and high; None where there is no value."""

_LARGEST_LOG = 700.0
"""A larger difference of losses would overflow the exponential."""


def retention(before: Column, after: Column, *, chance: float = 0.0, seed: int = 0) -> Record:
    """Return (mean after - chance) / (mean before - chance) with its paired 95 % bootstrap interval.

    1 keeps all, 0 is no better than chance. None where the mean before does not exceed chance; resamples of
    that kind are left out of the interval.

    Args:
        before: a figure of each question for the first model, such as 0 or 1 for correct.
        after: the same for the second model, in the same order.
        chance: what guessing would reach.
        seed: of the resampling.

    Raises:
        ValueError: there are not as many values after as before.

    Example:
        >>> retention([1, 1, 0, 0], [1, 0, 0, 0])["value"]
        0.5
        >>> retention([1, 1, 1, 0], [1, 1, 0, 0], chance=0.25)["value"]  # (0.5 - 0.25) / (0.75 - 0.25)
        0.5
    """
    return as_record(*_kept(before, after, chance=chance, seed=seed))


def nll_retention(before: Column, after: Column, *, seed: int = 0) -> Record:
    """Return mean loss before / mean loss after with its paired 95 % bootstrap interval over windows.

    Args:
        before: mean loss of each window of a text for the first model.
        after: the same for the second model.
        seed: of the resampling.

    Raises:
        ValueError: there are not as many windows after as before.

    Example:
        >>> nll_retention([3.0, 3.0], [4.0, 4.0])["value"]
        0.75
    """
    return as_record(*_kept(after, before, chance=0.0, seed=seed))


def perplexity_ratio(before: Column, after: Column, *, seed: int = 0) -> Record:
    """Return the perplexity per token after over that before, with its paired 95 % interval over windows.

    ratio = exp(mean loss after - mean loss before); 1 loses nothing.

    Our reading: windows count alike, a shorter last one too.

    Args:
        before: mean loss of each window of a text for the first model, in nats a token.
        after: the same for the second model.
        seed: of the resampling.

    Raises:
        ValueError: there are not as many windows after as before.

    Example:
        >>> round(perplexity_ratio([3.0, 3.0], [3.0, 3.0 + 2 * math.log(2)])["value"], 6)
        2.0
    """
    first, second = _columns(before, after)
    rise = second - first
    resampled = np.concatenate([[], *(rise[rows].mean(1) for rows in draws(rise.size, seed))])
    value = math.exp(min(rise.mean(), _LARGEST_LOG)) if rise.size else math.nan
    return as_record(value, np.exp(np.minimum(resampled, _LARGEST_LOG)))


def majority_share(labels: Sequence[int]) -> float:
    """Return the share of the most frequent label, which always naming it would get right."""
    return max(map(list(labels).count, set(labels))) / len(labels)


def retention_table(before: Mapping[str, Any], after: Mapping[str, Any], *, seed: int = 0) -> dict[str, Any]:
    """Return what a model keeps of another one's figures, each a record, ready for JSON.

    Generation and classification stand apart, since a classifier that has lost everything is still right as
    often as chance. Chance is 0 for an open answer and the share of the majority class for sentiment.

    Args:
        before: "sets" (name -> {"answers": rows with id and correct}), "text" ({"window_means": ...}) and
            "sentiment" ({"answers": rows with id, correct and label}) of the first model.
        after: the same of the second model, for the same questions and text.
        seed: of the resampling.

    Returns:
        generation: for each set n, accuracy_before, accuracy_after, retention; "mean" is the retention's mean
        over the sets that have one, and "sets" holds the sets. classification: the same for sentiment, with
        chance and retention_over_chance. language_modelling: windows, nll_retention, perplexity_ratio.

    Raises:
        ValueError: the questions, or the numbers of windows, are not the same.
    """
    sets = {}
    kept = []
    for place, (name, found) in enumerate(before["sets"].items()):
        sides = _verdicts(*paired(found["answers"], after["sets"][name]["answers"]))
        # Another seed for each set: equal rows of two sets have nothing to do with each other.
        kept.append(_kept(*sides, chance=0.0, seed=seed + place))
        sets[name] = {**_accuracies(*sides), "retention": as_record(*kept[-1])}
    windows = [side["text"]["window_means"] for side in (before, after)]
    return {
        "generation": {"sets": sets, "mean": _mean(kept)},
        "classification": {
            "sentiment": _classification(before["sentiment"]["answers"], after["sentiment"]["answers"], seed)
        },
        "language_modelling": {
            "windows": len(windows[0]),
            "nll_retention": nll_retention(*windows, seed=seed),
            "perplexity_ratio": perplexity_ratio(*windows, seed=seed),
        },
    }


def fallen(table: Mapping[str, Any], minimum: float) -> list[str]:
    """Return a sentence for each figure of a `retention_table` whose plain retention is under a minimum.

    A figure without a value is not among them: see `without_retention`.
    """
    return [
        f"{name}: retention {found['value']:.2f} [{_end(found['low'])}, {_end(found['high'])}] is under "
        f"gates.min_retention {minimum:g}"
        for name, found in _retentions(table).items()
        if found["value"] is not None and found["value"] < minimum
    ]


def without_retention(table: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each figure of a `retention_table` that has no retention."""
    return [
        f"{name}: no retention, since there was nothing to keep"
        for name, found in _retentions(table).items()
        if found["value"] is None
    ]


def _mean(kept: Sequence[tuple[float, Values]]) -> Record:
    """Return the mean of the ratios that have a value, None where none has."""
    defined = [both for both in kept if not math.isnan(both[0])]
    if not defined:
        return as_record(math.nan, np.array([]))
    values, resampled = zip(*defined, strict=True)
    return as_record(float(np.mean(values)), np.mean(resampled, axis=0))


def _retentions(table: Mapping[str, Any]) -> dict[str, Record]:
    """Return the plain retentions of a table by the names that sentences give them."""
    generation, classification = table["generation"]["sets"], table["classification"]
    return {
        **{f"{name} accuracy": found["retention"] for name, found in generation.items()},
        **{f"{name} accuracy": found["retention"] for name, found in classification.items()},
        "language modelling NLL": table["language_modelling"]["nll_retention"],
    }


def _classification(before: Sequence[Answered], after: Sequence[Answered], seed: int) -> dict[str, Any]:
    """Return what is kept of a classification."""
    answers = paired(before, after)
    sides = _verdicts(*answers)
    chance = majority_share([row["label"] for row in answers[0]])
    return {
        **_accuracies(*sides),
        "chance": chance,
        "retention": retention(*sides, seed=seed),
        "retention_over_chance": retention(*sides, chance=chance, seed=seed),
    }


def _verdicts(before: Sequence[Answered], after: Sequence[Answered]) -> tuple[list[float], list[float]]:
    """Return which answers of each side are correct."""
    return [float(row["correct"]) for row in before], [float(row["correct"]) for row in after]


def _accuracies(before: Sequence[float], after: Sequence[float]) -> dict[str, float | int]:
    """Return the number of answers and the share that is correct on each side."""
    count = len(before)
    return {"n": count, "accuracy_before": sum(before) / count, "accuracy_after": sum(after) / count}


def _kept(before: Column, after: Column, *, chance: float, seed: int) -> tuple[float, Values]:
    """Return the ratio of means over chance, and its value on each resample; nan where there is none."""
    first, second = (column - chance for column in _columns(before, after))
    value = float(_ratio(first.mean(), second.mean())) if first.size else math.nan
    if math.isnan(value):
        return value, np.array([])
    drawn = [_ratio(first[rows].mean(1), second[rows].mean(1)) for rows in draws(first.size, seed)]
    return value, np.concatenate(drawn)


def _ratio(before: Any, after: Any) -> Any:
    """Return after / before, nan where before does not exceed 0."""
    # A share minus the same share, taken as chance, can leave a rounding error.
    some = before > 1e-12
    return np.where(some, after / np.where(some, before, 1.0), math.nan)


def _columns(before: Column, after: Column) -> tuple[Values, Values]:
    """Return both columns as float64."""
    first, second = (np.asarray(as_array(column), dtype=np.float64) for column in (before, after))
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"before has shape {first.shape}, after {second.shape}; expected one equal axis")
    return first, second


def _end(value: float | None) -> str:
    """Return the end of an interval as a sentence shows it."""
    return "none" if value is None else f"{value:.2f}"
