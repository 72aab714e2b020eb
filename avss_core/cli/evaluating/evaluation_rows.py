"""Figures of models as rows: a figure each, and beside the first model what changed and what is kept."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from avss_core.cli.printing import Row

COLUMNS = ("set", "figure", "n", "value", "low", "high", "judge")
"""Columns of one model."""

COMPARED = (
    "model", *COLUMNS, "change", "change_low", "change_high", "kept", "kept_low", "kept_high",
)  # fmt: skip
"""Columns of several models."""

HARNESS = "lm-eval"
"""What stands for the judge of figures of lm-evaluation-harness."""


def figure_rows(figures: Mapping[str, Any]) -> list[Row]:
    """Return one row for each figure of an evaluation."""
    rows: list[Row] = [
        {"set": name, "figure": figure, "n": answers["n"], **entry, "judge": answers["judge"]}
        for name, answers in figures.get("sets", {}).items()
        for figure, entry in answers.items()
        if isinstance(entry, dict)
    ]
    text, reviews = figures.get("language_modelling") or {}, figures.get("sentiment")
    rows += [
        {"set": "text", "figure": figure, "value": value, "n": text["tokens"]}
        for figure, value in text.items()
        if figure == "nll" or figure.endswith("_perplexity")
    ]
    rows += [
        {"set": "sentiment", "figure": figure, **reviews[figure], "n": reviews["n"]}
        for figure in ("accuracy", "auroc")
        if reviews
    ]
    rows += [
        {
            "set": name,
            "figure": f"{figure}_at_{kept['risk']:g}",
            "n": kept["n"],
            **kept[figure],
            "judge": kept["judge"],
        }
        for name, kept in figures.get("abstention", {}).items()
        for figure in ("answered", "error")
    ]
    rows += [
        {"set": name, "figure": figure, "n": task["n"], **_ends(entry), "judge": HARNESS}
        for name, task in figures.get("tasks", {}).items()
        for figure, entry in task["figures"].items()
    ]
    # The same columns with and without sets.
    return [{**dict.fromkeys(COLUMNS), **row} for row in rows]


def compared_rows(models: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return one row for each model and figure; the first model has no change and nothing to keep."""
    return [
        {
            **dict.fromkeys(COMPARED),
            "model": each["model"],
            **row,
            **_ends(change, "change"),
            **_ends(kept, "kept"),
        }
        for each in models
        for row in figure_rows(each)
        for change, kept in [_beside_base(each, row)]
    ]


def _beside_base(model: Mapping[str, Any], row: Row) -> tuple[Any, Any]:
    """Return the change of a figure from the base, and what is kept of it; None for what is not known."""
    beside = model.get("against_base")
    if beside is None:
        return None, None
    part, figure = row["set"], row["figure"]
    if row["judge"] == HARNESS:
        task = beside["tasks"][part]
        return task["change"].get(figure), task["kept"].get(figure, {}).get("retention")
    changes = beside["changes"].get(part, {}).get(figure)
    return changes, dict(_kept(beside["retention"])).get((part, figure))


def _kept(retention: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Any]]:
    """Yield what is kept, by set and figure."""
    for name, kept in retention["generation"]["sets"].items():
        yield (name, "accuracy"), kept["retention"]
        for figure, field in (("gold_nll", "gold_nll"), ("preference_accuracy", "preference")):
            if field in kept:
                yield (name, figure), kept[field]["retention"]
    yield ("sentiment", "accuracy"), retention["classification"]["sentiment"]["retention"]
    yield ("text", "nll"), retention["language_modelling"]["nll_retention"]


def _ends(entry: Mapping[str, Any] | None, name: str = "") -> Row:
    """Return value, low and high of an entry, under another name if one is given."""
    found = entry or dict.fromkeys(("value", "low", "high"))
    first = {name or "value": found["value"]}
    return first | {f"{name}_{end}" if name else end: found[end] for end in ("low", "high")}
