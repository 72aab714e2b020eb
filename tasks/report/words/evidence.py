"""What may be said of a change: nothing where questions are too few, little where no answer is right."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LOWER_IS_BETTER = frozenset({"ece", "brier"})

TOO_FEW = 20
"""Under so many questions or reviews nothing is called better, worse, or sure.

A bootstrap draws only what it was given: where 4 of 4 answers are wrong, each resample is 4 wrong ones and
the interval [0, 0], though a model that is right in 60 % of cases fails 4 times in a row once in 40. With 20
wrong answers that holds up to 17 %, an error of the size of the intervals that such a number has anyway."""

NOT_SURE = "no answer is right, so a low Brier score says only that the model is not sure"
"""Why ECE and Brier score are not judged beside an accuracy of 0."""


def direction(name: str, entry: Mapping[str, Any]) -> str:
    """Return better, worse, or same where the interval of a difference holds zero."""
    if entry["low"] <= 0 <= entry["high"]:
        return "same"
    return "better" if (entry["value"] < 0) == (name in LOWER_IS_BETTER) else "worse"


def called(name: str, entry: Mapping[str, Any], sides: Iterable[Mapping[str, Any]]) -> str:
    """Return what a difference of a question set may be called.

    Args:
        name: the figure.
        entry: value, low and high of its difference.
        sides: the figures of the set of both models: n, accuracy.

    Returns:
        unsure under `TOO_FEW` questions; hollow where an ECE or a Brier score changed and one of the models
        has no right answer; else the `direction`.
    """
    sides = list(sides)
    if any(side["n"] < TOO_FEW for side in sides):
        return "unsure"
    found = direction(name, entry)
    return "hollow" if found != "same" and hollow(name, sides) else found


def hollow(name: str, sides: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether a figure is an ECE or a Brier score beside an accuracy of 0."""
    return name in LOWER_IS_BETTER and any(side["accuracy"]["value"] == 0 for side in sides)


def unmoved(mitigation: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """Return that a training changed nothing that three digits show, "" where it did.

    Args:
        mitigation: the record of the stage.
        base: the figures of the model that was trained.
    """
    texts = [side["language_modelling"]["token_perplexity"] for side in (mitigation["mitigated"], base)]
    if round(mitigation["divergence"]["value"], 3) or round(texts[0] / texts[1], 3) != 1:
        return ""
    training = mitigation["training"]
    did = f"{counted(len(training['steps']), 'step')} on {counted(training['train_pairs'], 'pair')}"
    return f"{did}: the model practically did not move; more rows or epochs are needed"


def counted(number: int, word: str) -> str:
    """Return a number with its word: 1 question, 5 questions."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def few(sets: Mapping[str, Any]) -> str:
    """Return that the questions of some sets are too few, with their numbers; "" where they are enough.

    Args:
        sets: records with n, by set.
    """
    small = [f"{name}: {found['n']}" for name, found in sets.items() if found["n"] < TOO_FEW]
    return f"too few questions to say ({', '.join(small)})" if small else ""


def few_kept(table: Mapping[str, Any]) -> dict[str, str]:
    """Return of what a retention says nothing, and why, by its name in `wording.retentions`.

    A mean over sets of which one has too few questions says nothing, either: each set counts the same.
    """
    sets, sentiment = table["generation"]["sets"], table["classification"]["sentiment"]
    found = {f"{name}, accuracy": few({name: kept}) for name, kept in sets.items()}
    found["mean of the sets"] = few(sets)
    for name in ("sentiment, accuracy", "sentiment, over chance"):
        found[name] = few_reviews([sentiment])
    return {name: why for name, why in found.items() if why}


def few_reviews(counts: Sequence[Mapping[str, Any]]) -> str:
    """Return that the reviews are too few, "" where they are enough; `counts` are records with n."""
    least = min(found["n"] for found in counts)
    return f"too few reviews to say ({least})" if least < TOO_FEW else ""
