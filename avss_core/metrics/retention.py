"""Retention: the share of one model's figures that another keeps on the same questions and text."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from avss_core.metrics.bootstrap import as_entry, draws
from avss_core.metrics.columns import Column, Values, as_array
from avss_core.metrics.comparison import Answered, paired
from avss_core.metrics.records import Entry, Generation, KeptOfAnswers, KeptOfReviews, KeptOfSet, Retention
from avss_core.metrics.right_answers import few_right

Ratio: TypeAlias = tuple[float, Values]
"""A ratio of means, and its value on each resample; nan and no values if it has none."""

_LARGEST_LOG = 700.0
"""A larger difference of losses would overflow the exponential."""


def retention(before: Column, after: Column, *, chance: float = 0.0, seed: int = 0) -> Entry:
    """Return (mean after - chance) / (mean before - chance) with its paired 95 % bootstrap interval.

    1 keeps all, 0 is no better than chance. None if the mean before does not exceed chance; such resamples
    are left out of the interval.

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
    return as_entry(*_kept(before, after, chance=chance, seed=seed))


def nll_retention(before: Column, after: Column, *, seed: int = 0) -> Entry:
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
    return as_entry(*_kept(after, before, chance=0.0, seed=seed))


def perplexity_ratio(before: Column, after: Column, *, seed: int = 0) -> Entry:
    """Return the perplexity per token after over that before, with its paired 95 % interval over windows.

    ratio = exp(mean loss after - mean loss before); 1 loses nothing.

    Our reading: every window counts alike, a shorter last one too.

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
    return as_entry(value, np.exp(np.minimum(resampled, _LARGEST_LOG)))


def majority_share(labels: Sequence[int]) -> float:
    """Return the share of the most frequent label: the accuracy of always answering it."""
    return max(map(list(labels).count, set(labels))) / len(labels)


def retention_table(before: Mapping[str, Any], after: Mapping[str, Any], *, seed: int = 0) -> Retention:
    """Return what one model keeps of another's figures.

    Generation and classification stand apart, since a classifier that has lost everything is still right as
    often as chance. Chance is 0 for an open answer and the share of the majority class for sentiment. Beside
    the accuracy of a set stand the loss of its accepted answers (before / after) and how often an accepted
    answer is preferred to every wrong one, on the questions where both models have them. Means are over
    the sets of whose right answers, or preferences, there are enough for a share.

    Args:
        before: `sets` (name -> record with `answers`), `sentiment` (record with `answers`) and `text` (record
            with `window_means`) of the first model.
        after: the same of the second model.
        seed: of the resampling.

    Raises:
        ValueError: the questions, or the numbers of windows, are not the same.
    """
    windows = [side["text"]["window_means"] for side in (before, after)]
    return {
        "generation": _generation(before["sets"], after["sets"], seed),
        "classification": {
            "sentiment": _classification(before["sentiment"]["answers"], after["sentiment"]["answers"], seed)
        },
        "language_modelling": {
            "windows": len(windows[0]),
            "nll_retention": nll_retention(*windows, seed=seed),
            "perplexity_ratio": perplexity_ratio(*windows, seed=seed),
        },
    }


def fallen(table: Retention, minimum: float) -> list[str]:
    """Return a sentence for each figure whose plain retention is under a minimum.

    Figures without a retention, and sets of too few right answers for one, are in `without_retention`.
    """
    few = _few(table)
    return [
        f"{name}: retention {kept['value']:.2f} [{_end(kept['low'])}, {_end(kept['high'])}] is under "
        f"gates.min_retention {minimum:g}"
        for name, kept in _retentions(table).items()
        if name not in few and kept["value"] is not None and kept["value"] < minimum
    ]


def without_retention(table: Retention) -> list[str]:
    """Return a sentence for each figure that has no retention, or too few right answers for one."""
    few = _few(table)
    return [
        f"{name}: no retention, since {few.get(name, 'there was nothing to keep')}"
        for name, kept in _retentions(table).items()
        if name in few or kept["value"] is None
    ]


def _generation(before: Mapping[str, Any], after: Mapping[str, Any], seed: int) -> Generation:
    """Return what is kept of the answers to each question set, and the means over sets."""
    sets: dict[str, KeptOfSet] = {}
    ratios: dict[str, list[Ratio]] = defaultdict(list)
    for place, (name, answered) in enumerate(before.items()):
        # Another seed for each set: equal rows of two sets have nothing to do with each other.
        sides = paired(answered["answers"], after[name]["answers"])
        sets[name], told = _kept_of_set(*sides, seed + place)
        for figure, ratio in told.items():
            ratios[figure].append(ratio)
    generation: Generation = {"sets": sets, "mean": _mean(ratios["accuracy"])}
    if any("gold_nll" in kept for kept in sets.values()):
        generation["gold_nll"] = _mean(ratios["gold_nll"])
    if any("preference" in kept for kept in sets.values()):
        generation["preference"] = _mean(ratios["preference"])
    return generation


def _kept_of_set(
    before: Sequence[Answered], after: Sequence[Answered], seed: int
) -> tuple[KeptOfSet, dict[str, Ratio]]:
    """Return what is kept of a question set, and by figure the ratios that a mean over sets is of."""
    right, ratio = _kept_of_answers(*_both(before, after, "correct"), seed)
    kept: KeptOfSet = {
        "n": right["n"],
        "accuracy_before": right["accuracy_before"],
        "accuracy_after": right["accuracy_after"],
        "retention": right["retention"],
    }
    shares, told = {"accuracy": (right, ratio)}, {}
    losses = _both(before, after, "gold_nll")
    if losses[0]:
        told["gold_nll"] = _kept(losses[1], losses[0], chance=0.0, seed=seed)
        means = [sum(column) / len(column) for column in losses]
        kept["gold_nll"] = {
            "n": len(losses[0]),
            "loss_before": means[0],
            "loss_after": means[1],
            "retention": as_entry(*told["gold_nll"]),
        }
    preferences = _both(before, after, "preference")
    if preferences[0]:
        shares["preference"] = _kept_of_answers(*preferences, seed)
        kept["preference"] = shares["preference"][0]
    return kept, told | {
        figure: ratio
        for figure, (share, ratio) in shares.items()
        if not few_right(share["n"], share["accuracy_before"])
    }


def _mean(kept: Sequence[Ratio]) -> Entry:
    """Return the mean of ratios, None without any."""
    if not kept:
        return as_entry(math.nan, np.array([]))
    values, resampled = zip(*kept, strict=True)
    return as_entry(float(np.mean(values)), np.mean(resampled, axis=0))


def _few(table: Retention) -> dict[str, str]:
    """Return why a share of a set's accuracy says nothing, by the names in `_retentions`."""
    said = {
        name: few_right(kept["n"], kept["accuracy_before"])
        for name, kept in table["generation"]["sets"].items()
    }
    return {f"{name} accuracy": why for name, why in said.items() if why}


def _retentions(table: Retention) -> dict[str, Entry]:
    """Return the plain retentions of a table by the names that sentences give them."""
    return {
        **{f"{name} accuracy": kept["retention"] for name, kept in table["generation"]["sets"].items()},
        "sentiment accuracy": table["classification"]["sentiment"]["retention"],
        "language modelling NLL": table["language_modelling"]["nll_retention"],
    }


def _classification(before: Sequence[Answered], after: Sequence[Answered], seed: int) -> KeptOfReviews:
    """Return what is kept of a classification."""
    answers = paired(before, after)
    sides = _both(*answers, "correct")
    chance = majority_share([row["label"] for row in answers[0]])
    return {
        **_kept_of_answers(*sides, seed)[0],
        "chance": chance,
        "retention_over_chance": retention(*sides, chance=chance, seed=seed),
    }


def _both(
    before: Sequence[Answered], after: Sequence[Answered], figure: str
) -> tuple[list[float], list[float]]:
    """Return a figure of each answer of either side, where both sides have it."""
    values = [(one.get(figure), other.get(figure)) for one, other in zip(before, after, strict=True)]
    known = [(float(one), float(other)) for one, other in values if one is not None and other is not None]
    return [one for one, _ in known], [other for _, other in known]


def _kept_of_answers(
    before: Sequence[float], after: Sequence[float], seed: int
) -> tuple[KeptOfAnswers, Ratio]:
    """Return the number of answers, the accuracy of each side and the retention, and the ratio itself."""
    count, ratio = len(before), _kept(before, after, chance=0.0, seed=seed)
    kept: KeptOfAnswers = {
        "n": count,
        "accuracy_before": sum(before) / count,
        "accuracy_after": sum(after) / count,
        "retention": as_entry(*ratio),
    }
    return kept, ratio


def _kept(before: Column, after: Column, *, chance: float, seed: int) -> Ratio:
    """Return the ratio of means over chance, and its value on each resample; nan if it has no value."""
    first, second = (column - chance for column in _columns(before, after))
    value = float(_ratio(first.mean(), second.mean())) if first.size else math.nan
    if math.isnan(value):
        return value, np.array([])
    drawn = [_ratio(first[rows].mean(1), second[rows].mean(1)) for rows in draws(first.size, seed)]
    return value, np.concatenate(drawn)


def _ratio(before: Any, after: Any) -> Any:
    """Return after / before, nan if before does not exceed 0."""
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
