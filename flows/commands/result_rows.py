"""The rows that commands print: what of a result stands in a table or in the lines of a pipe."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

Row = Mapping[str, Any]
"""Column by column; columns keep their names from version to version."""


def speed_rows(found: Mapping[str, Any]) -> list[Row]:
    """Return one row a model: tokens a second, how many times those of the first, and memory.

    Beside a ratio stand those of its lowest and its highest round.
    """
    rows: list[Row] = []
    for name, times in found["models"].items():
        ratios = found["ratios"].get(name)
        row: dict[str, Any] = {"model": name, "prefill": round(times["prefill"], 1)}
        row |= _ratio_cells("prefill_ratio{}", ratios and ratios["prefill"])
        for size, value in times["decode"].items():
            row[f"decode_batch_{size}"] = round(value, 1)
            row |= _ratio_cells(f"decode_ratio{{}}_batch_{size}", ratios and ratios["decode"][size])
        rows.append(row | {"peak_bytes": times["peak_bytes"], "cache_bytes_per_token": times["cache_bytes"]})
    return rows


def _ratio_cells(name: str, ratio: Mapping[str, float] | None) -> Row:
    """Return a ratio with its interval; that of the first model to itself has none."""
    ends = {"": "value", "_low": "low", "_high": "high"}
    if ratio is None:
        return {name.format(end): None if end else 1.0 for end in ends}
    return {name.format(end): round(ratio[key], 6) for end, key in ends.items()}


def figure_rows(found: Mapping[str, Any]) -> list[Row]:
    """Return one row for each figure of an evaluation."""
    rows: list[Row] = [
        {"set": name, "figure": figure, "n": figures["n"], **entry, "judge": figures["judge"]}
        for name, figures in found["sets"].items()
        for figure, entry in figures.items()
        if isinstance(entry, dict)
    ]
    text, feeling = found["language_modelling"], found["sentiment"]
    rows += [
        {"set": "text", "figure": figure, "value": text[figure], "n": text["tokens"]}
        for figure in text
        if figure == "nll" or figure.endswith("_perplexity")
    ]
    return [*rows, {"set": "sentiment", "figure": "accuracy", **feeling["accuracy"], "n": feeling["n"]}]


def change_rows(found: Mapping[str, Any]) -> list[Row]:
    """Return one row for each figure that a training may have changed, with the interval of the change."""
    before, after = found["before"]["sets"], found["after"]["sets"]
    return [
        {
            "set": name,
            "figure": figure,
            "before": before[name][figure]["value"],
            "after": after[name][figure]["value"],
            "change": change["value"],
            "low": change["low"],
            "high": change["high"],
        }
        for name, changed in found["difference"].items()
        for figure, change in changed.items()
        if isinstance(change, dict)
    ]


def training_rows(training: Mapping[str, Any]) -> list[Row]:
    """Return one row for each validation of a training: steps and tokens so far, and the losses."""
    tokens = list(accumulate(step["tokens"] for step in training["steps"]))
    return [
        {
            "step": epoch["step"],
            "tokens": tokens[epoch["step"] - 1],
            "train_loss": epoch["train_loss"],
            "validation_loss": epoch["validation_loss"],
        }
        for epoch in training["history"]
    ]
