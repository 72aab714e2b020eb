"""Compare the figures of a model that two runs have: question sets, text, sentiment, and what was kept."""

from collections.abc import Mapping
from typing import Any

from avss_core.metrics.comparison import paired_difference, paired_means
from tasks.answers.answer_rows import SENTIMENT
from tasks.compare.answered import RunAnswers, shared_answers
from tasks.compare.measures import Found, Sides, asked_reasons, compared, losses, text_reasons
from tasks.report.words.evidence import LOWER_IS_BETTER, hollow
from tasks.report.words.wording import NAMES


def model(sides: Sides, answers: tuple[RunAnswers, RunAnswers], variant: str, seed: int) -> Found:
    """Return the figures of a model that both runs have."""
    one, other = (side["models"][variant] for side in sides)
    sets = {
        name: _set(sides, (one["sets"][name], other["sets"][name]), answers, variant, name, seed)
        for name in one["sets"]
        if name in other["sets"]
    }
    reasons = text_reasons(sides, "test", (one["text"], other["text"]))
    rows = shared_answers(*answers, variant, SENTIMENT)
    feeling = [model["sentiment"] for model in (one, other)]
    why = [] if rows[0] else asked_reasons(sides, "sst2/validation", "reviews", feeling)
    right = [[float(row["correct"]) for row in side] for side in rows]
    return {
        "sets": sets,
        "text": {
            "reasons": reasons,
            "nll": losses(one["text"], other["text"], reasons, seed),
            "token_perplexity": [model["text"]["token_perplexity"] for model in (one, other)],
            "word_perplexity": [model["text"]["word_perplexity"] for model in (one, other)],
        },
        "sentiment": {
            "n": [each["n"] for each in feeling],
            "reasons": why,
            "accuracy": compared(
                *(each["accuracy"] for each in feeling),
                change=paired_means(right[0], right[1], seed) if rows[0] else None,
                paired=len(rows[0]) or None,
                void=bool(why),
                n=len(rows[0]) or min(each["n"] for each in feeling),
            ),
        },
    }


def _set(
    sides: Sides,
    figures: Sides,
    answers: tuple[RunAnswers, RunAnswers],
    variant: str,
    name: str,
    seed: int,
) -> Found:
    """Return the figures of a question set, in pairs where both runs have answers to the same questions."""
    judges = [each["judge"] for each in figures]
    rows = shared_answers(*answers, variant, name)
    shared = len(rows[0])
    reasons = [] if shared else asked_reasons(sides, f"{name}/test", "test questions", figures)
    if judges[0] != judges[1]:
        reasons.append(f"judged by {judges[0]} and by {judges[1]}")
    paired = paired_difference(*rows, seed) if shared and not reasons else None
    return {
        "n": [each["n"] for each in figures],
        "judge": judges,
        "shared": shared if paired else None,
        "reasons": reasons,
        "figures": {
            figure: compared(
                *(each[figure] for each in figures),
                lower=figure in LOWER_IS_BETTER,
                change=paired[figure] if paired else None,
                paired=shared if paired else None,
                void=bool(reasons),
                n=shared if paired else min(each["n"] for each in figures),
                hollow=hollow(figure, figures),
            )
            for figure in NAMES
        },
    }


def retention(sides: Sides, models: Mapping[str, Any]) -> Found:
    """Return what the pruned and the healed model keep of the dense one, by its two intervals."""
    found: Found = {}
    for variant in (name for name in sides[0]["retention"] if name in sides[1]["retention"]):
        one, other = (side["retention"][variant] for side in sides)
        found[variant] = {
            name: compared(
                one[name],
                other[name],
                void=_cannot_keep(sides, models[variant], name),
                n=_asked(models[variant], name),
            )
            for name in one
            if name in other
        }
    return found


def _asked(model: Mapping[str, Any], name: str) -> int | None:
    """Return how many questions or reviews a share kept is of, the fewest of a mean's sets; None for text."""
    head = name.partition(",")[0]
    if head == "language modelling":
        return None
    if head == "sentiment":
        return int(min(model["sentiment"]["n"]))
    sets = [model["sets"][head]] if head in model["sets"] else model["sets"].values()
    return min((count for entry in sets for count in entry["n"]), default=None)


def _cannot_keep(sides: Sides, model: Mapping[str, Any], name: str) -> bool:
    """Tell whether the share that a model keeps of a figure cannot be compared."""
    head = name.partition(",")[0]
    if head in ("sentiment", "language modelling"):
        return bool(model["sentiment" if head == "sentiment" else "text"]["reasons"])
    if head in model["sets"]:
        return bool(model["sets"][head]["reasons"])
    counted = [side["models"]["dense"]["sets"].keys() for side in sides]
    return counted[0] != counted[1] or any(entry["reasons"] for entry in model["sets"].values())
