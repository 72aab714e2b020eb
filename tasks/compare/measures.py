"""Compare the figures of two runs, in pairs where both models answered the same questions."""

from collections.abc import Mapping, Sequence
from typing import Any

from avss_core.metrics.agreement import apart, plain_difference
from avss_core.metrics.comparison import paired_difference, paired_means
from avss_core.metrics.records import Entry
from tasks.answers.answer_rows import SENTIMENT
from tasks.compare.comparison import Compared, ComparedModel, ComparedSet
from tasks.compare.finding import RunAnswers, shared_answers
from tasks.report.words.evidence import LOWER_IS_BETTER, TOO_FEW, hollow
from tasks.report.words.wording import NAMES

Record = Mapping[str, Any]
Sides = tuple[Record, Record]
"""The records of run A and of run B; see `tasks.report.run_record.run_record`."""


def compared(
    figure: str,
    a: Record,
    b: Record,
    *,
    change: Record | None = None,
    paired: int | None = None,
    void: bool = False,
    n: int | None = None,
    empty: bool = False,
) -> Compared:
    """Return a figure of both runs with its change.

    Args:
        figure: its name, which says whether lower is better.
        a: value, low and high of run A.
        b: the same of run B.
        change: the paired difference, if the figure is paired.
        paired: how many pairs it is of.
        void: whether the two cannot be compared.
        n: how many questions or reviews it is of, 0 if a share has too few right answers for a value; under
            `TOO_FEW` nothing can be said.
        empty: whether a change says nothing because no answer is right; see `evidence.hollow`.
    """
    change = change or plain_difference(a, b)
    value, low, high = change["value"], change["low"], change["high"]
    sure = apart(a, b) if low is None or high is None else not low <= 0 <= high
    if void or (value is None and n != 0):
        tone = "void"
    elif value is None or (n is not None and n < TOO_FEW):
        tone = "unsure"
    elif not sure:
        tone = "same"
    elif empty:
        tone = "hollow"
    else:
        tone = "better" if (value < 0) == (figure == "nll" or figure in LOWER_IS_BETTER) else "worse"
    return {"a": _entry(a), "b": _entry(b), "change": _entry(change), "paired": paired, "tone": tone}


def compare_losses(a: Record, b: Record, reasons: Sequence[str], seed: int) -> Compared:
    """Return two losses on a text, paired over its windows if it is the same text."""
    windows = [side["window_means"] or [] for side in (a, b)]
    if reasons or not windows[0] or len(windows[0]) != len(windows[1]):
        return compared("nll", a, b, void=bool(reasons))
    return compared("nll", a, b, change=paired_means(windows[0], windows[1], seed), paired=len(windows[0]))


def compare_model(
    sides: Sides, answers: tuple[RunAnswers, RunAnswers], variant: str, seed: int
) -> ComparedModel:
    """Return the figures of a model that both runs have."""
    one, other = (side["models"][variant] for side in sides)
    text_differs = text_reasons(sides, "test", (one["text"], other["text"]))
    rows = shared_answers(*answers, variant, SENTIMENT)
    reviews = [model["sentiment"] for model in (one, other)]
    counts = [each["n"] for each in reviews]
    reviews_differ = [] if rows[0] else _asked_reasons(sides, "sst2/validation", "reviews", counts)
    right = [[float(row["correct"]) for row in side] for side in rows]
    return {
        "sets": {
            name: _compare_set(
                sides,
                (one["sets"][name], other["sets"][name]),
                shared_answers(*answers, variant, name),
                name,
                seed,
            )
            for name in one["sets"]
            if name in other["sets"]
        },
        "text": {
            "reasons": text_differs,
            "nll": compare_losses(one["text"], other["text"], text_differs, seed),
            "token_perplexity": [model["text"]["token_perplexity"] for model in (one, other)],
            "word_perplexity": [model["text"]["word_perplexity"] for model in (one, other)],
        },
        "sentiment": {
            "n": counts,
            "reasons": reviews_differ,
            "accuracy": compared(
                "accuracy",
                *(each["accuracy"] for each in reviews),
                change=paired_means(right[0], right[1], seed) if rows[0] else None,
                paired=len(rows[0]) or None,
                void=bool(reviews_differ),
                n=len(rows[0]) or min(counts),
            ),
        },
    }


def _compare_set(
    sides: Sides,
    figures: Sides,
    rows: tuple[list[dict[str, Any]], list[dict[str, Any]]],
    name: str,
    seed: int,
) -> ComparedSet:
    """Return the figures of a question set; `rows` are the answers of both runs to the same questions."""
    counts, judges = [each["n"] for each in figures], [each["judge"] for each in figures]
    reasons = [] if rows[0] else _asked_reasons(sides, f"{name}/test", "test questions", counts)
    if judges[0] != judges[1]:
        reasons.append(f"judged by {judges[0]} and by {judges[1]}")
    paired: Record | None = paired_difference(*rows, seed) if rows[0] and not reasons else None
    shared = len(rows[0]) if paired else None
    return {
        "n": counts,
        "judge": judges,
        "shared": shared,
        "reasons": reasons,
        "figures": {
            figure: compared(
                figure,
                *(each[figure] for each in figures),
                change=paired[figure] if paired else None,
                paired=shared,
                void=bool(reasons),
                n=shared or min(counts),
                empty=hollow(figure, figures),
            )
            for figure in NAMES
        },
    }


def compare_retention(sides: Sides, models: Mapping[str, ComparedModel]) -> dict[str, dict[str, Compared]]:
    """Return what each smaller model keeps of the dense one, by their two intervals."""
    tables = [side["retention"] for side in sides]
    return {
        variant: {
            name: _compare_share(name, tables[0][variant][name], tables[1][variant][name], models[variant],
                                 same_sets=_told(tables[0][variant], name) == _told(tables[1][variant], name))
            for name in tables[0][variant]
            if name in tables[1][variant]
        }
        for variant in tables[0]
        if variant in tables[1]
    }  # fmt: skip


def _told(table: Record, name: str) -> set[str]:
    """Return the names of the shares with a value that are of the same figure as the named one."""
    figure = name.rpartition("mean of the sets")[2].lstrip(", ") or "accuracy"
    return {each for each, entry in table.items() if each.endswith(figure) and entry["value"] is not None}


def _compare_share(name: str, a: Record, b: Record, model: ComparedModel, *, same_sets: bool) -> Compared:
    """Return a share that a model keeps; a mean of the sets needs all of them to be comparable."""
    of = name.partition(",")[0]
    if of == "language modelling":
        return compared("accuracy", a, b, void=bool(model["text"]["reasons"]))
    if of == "sentiment":
        asked = model["sentiment"]
        return compared("accuracy", a, b, void=bool(asked["reasons"]), n=min(asked["n"]))
    sets = [model["sets"][of]] if of in model["sets"] else list(model["sets"].values())
    void = any(each["reasons"] for each in sets) or not (of in model["sets"] or same_sets)
    least = min((count for each in sets for count in each["n"]), default=None)
    missing = a["value"] is None or b["value"] is None  # of too few right answers
    return compared("accuracy", a, b, void=void, n=0 if missing else least)


def text_reasons(sides: Sides, part: str, measured: Sequence[Record]) -> list[str]:
    """Return why losses on a text cannot be compared; [] if they can."""
    reasons = _part_reasons(sides, f"text/{part}", "texts")
    for key, what in (("tokens", "tokens"), ("window", "tokens a window"), ("stride", "tokens a stride")):
        values = [each.get(key) for each in measured]
        if values[0] != values[1]:
            reasons.append(f"{values[0]} and {values[1]} {what}")
    if sides[0]["model"]["name"] != sides[1]["model"]["name"]:
        reasons.append("the models differ, and so may their tokens")
    return reasons


def _asked_reasons(sides: Sides, part: str, what: str, counts: Sequence[int]) -> list[str]:
    """Return why two models were not asked the same; [] if they were."""
    reasons = _part_reasons(sides, part, what)
    return reasons if counts[0] == counts[1] else [*reasons, f"n is {counts[0]} and {counts[1]}"]


def _part_reasons(sides: Sides, name: str, what: str) -> list[str]:
    """Return why a part of the data is not the same in both runs; [] if it is."""
    if sides[0]["data"]["digest"] == sides[1]["data"]["digest"]:
        return []
    digests = [side["data"]["parts"].get(name, {}).get("digest") for side in sides]
    if None in digests:
        return [f"whether the {what} are the same is not recorded"]
    return [] if digests[0] == digests[1] else [f"the {what} are not the same"]


def _entry(figure: Record) -> Entry:
    """Return the value of a figure and the ends of its interval alone."""
    return {"value": figure["value"], "low": figure["low"], "high": figure["high"]}
