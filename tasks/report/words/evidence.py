"""What the evidence allows to be said: nothing of too few questions, little where no answer is right."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from avss_core.metrics.records import Contrast, Entry, KeptOfAnswers, Retention
from avss_core.metrics.right_answers import few_right
from tasks.records import ModelFigures, SetFigures
from tasks.report.variants import MEAN
from tasks.report.words.wording import NAMES, Figure

LOWER_IS_BETTER = frozenset({"ece", "brier"})

MARKS = {
    "better": "\u25b2 better",
    "worse": "\u25bc worse",
    "mixed": "\u25b2\u25bc mixed",
    "same": "\u00b7 no certain change",
    "unsure": "\u00b7 too few to say",
    "hollow": "\u00b7 no answer is right",
    "fact": "\u00b7 fact",
}
"""Mark of a verdict or a figure by its tone.

`same`: the interval of the change contains zero; `fact`: nothing is compared."""

TOO_FEW = 20
"""Of fewer questions or reviews nothing is called better, worse or certain.

A bootstrap only redraws what it was given: if 4 of 4 answers are wrong, each resample is 4 wrong ones and the
interval is [0, 0], though a model that is right in 60 % of cases fails 4 times in a row once in 40. With 20
wrong answers that holds up to 17 %, an error of the size of the intervals that such a number has anyway."""

PREFERS = "the dense model prefers an accepted answer in"
"""How the sentence of too few preferences begins; see `avss_core.metrics.right_answers.few_right`."""

NO_SET = "no set has enough right answers of the dense model for a share"
"""Why there is no mean share."""

NOT_SURE = "no answer is right, so a low Brier score says only that the model is not sure"
"""Why ECE and Brier score are not judged beside an accuracy of 0."""


def direction(name: str, entry: Entry) -> str:
    """Return better, worse, or same if the interval of a difference contains zero or there is none."""
    value, low, high = entry["value"], entry["low"], entry["high"]
    if value is None or low is None or high is None or low <= 0 <= high:
        return "same"
    return "better" if (value < 0) == (name in LOWER_IS_BETTER) else "worse"


def better_text(name: str) -> str:
    """Return which direction of a figure is better, as an axis says it."""
    return f"{'lower' if name in LOWER_IS_BETTER else 'higher'} is better"


def called(name: str, entry: Entry, sides: Sequence[Mapping[str, Any]]) -> str:
    """Return what a difference of a question set may be called.

    Args:
        name: the figure.
        entry: its difference.
        sides: n and accuracy on the set of each model that takes part.

    Returns:
        `unsure` under `TOO_FEW` questions; `hollow` if an ECE or a Brier score changed and one of the models
        has no right answer; else the `direction`.
    """
    if any(side["n"] < TOO_FEW for side in sides):
        return "unsure"
    tone = direction(name, entry)
    return "hollow" if tone != "same" and hollow(name, sides) else tone


def tones(
    changes: Mapping[str, Contrast], sides: Mapping[str, Sequence[SetFigures]]
) -> dict[tuple[str, Figure], str]:
    """Return what each change may be called, by set and figure."""
    return {
        (name, figure): called(figure, entries[figure], sides[name])
        for figure in NAMES
        for name, entries in changes.items()
    }


def certain(changes: Mapping[str, Contrast], sides: Mapping[str, Sequence[SetFigures]]) -> list[str]:
    """Return what each change of the sets with enough questions may be called."""
    return [tone for tone in tones(changes, sides).values() if tone != "unsure"]


def overall(said: Iterable[str]) -> str:
    """Return what several tones say together: better, worse, mixed, same, or unsure without any other."""
    known = {"same" if tone == "hollow" else tone for tone in said} - {"unsure"}
    sure = known & {"better", "worse", "mixed"}
    if len(sure) > 1:
        return "mixed"
    return sure.pop() if sure else "same" if known else "unsure"


def set_sides(*models: ModelFigures) -> dict[str, list[SetFigures]]:
    """Return the figures of each question set, one entry a model."""
    return {name: [model["sets"][name] for model in models] for name in models[0]["sets"]}


def hollow(name: str, sides: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether a figure is an ECE or a Brier score beside an accuracy of 0."""
    return name in LOWER_IS_BETTER and any(side["accuracy"]["value"] == 0 for side in sides)


def few(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """Return that the questions of some sets are too few, with their numbers; "" if they are enough.

    Args:
        sets: records with n, by set.
    """
    small = [f"{name}: {each['n']}" for name, each in sets.items() if each["n"] < TOO_FEW]
    return f"too few questions to say ({', '.join(small)})" if small else ""


def few_reviews(counts: Iterable[Mapping[str, Any]]) -> str:
    """Return that the reviews are too few, "" if they are enough; `counts` are records with n."""
    least = min(each["n"] for each in counts)
    return f"too few reviews to say ({least})" if least < TOO_FEW else ""


def few_kept(table: Retention) -> dict[str, str]:
    """Return the shares kept that say nothing, by their names in `variants.retentions`, each with the reason.

    A mean over sets of which one has too few questions says nothing either: each set counts the same. Sets of
    too few right answers have no share and no part in the mean.
    """
    sets, sentiment = table["generation"]["sets"], table["classification"]["sentiment"]
    preferences = {name: kept["preference"] for name, kept in sets.items() if "preference" in kept}
    losses = {name: kept["gold_nll"] for name, kept in sets.items() if "gold_nll" in kept}
    reasons = {f"{name}, accuracy": _few_share(name, kept) for name, kept in sets.items()}
    reasons |= {f"{name}, preference": _few_share(name, kept, PREFERS) for name, kept in preferences.items()}
    reasons |= {f"{name}, gold loss": few({name: kept}) for name, kept in losses.items()}
    reasons[MEAN] = _few_mean(sets)
    reasons[f"{MEAN}, preference"] = _few_mean(preferences)
    reasons[f"{MEAN}, gold loss"] = few(losses)
    for name in ("sentiment, accuracy", "sentiment, over chance"):
        reasons[name] = few_reviews([sentiment])
    return {name: why for name, why in reasons.items() if why}


def _few_share(name: str, kept: KeptOfAnswers, did: str = "the dense model answers") -> str:
    """Return why a share of right answers says nothing, "" if it does."""
    return few({name: kept}) or few_right(kept["n"], kept["accuracy_before"], did)


def _few_mean(sets: Mapping[str, KeptOfAnswers]) -> str:
    """Return why the mean share of the sets with enough right answers says nothing, "" if it does."""
    told = {name: kept for name, kept in sets.items() if not few_right(kept["n"], kept["accuracy_before"])}
    return few(told) if told else NO_SET
