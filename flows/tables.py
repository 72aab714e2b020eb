"""How the results of commands are printed: JSON, a table on a terminal, or plain lines in a pipe."""

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]


def show(found: Mapping[str, Any], rows: Sequence[Row], *, title: str, as_json: bool) -> None:
    """Print a result: whole as one JSON object, or its rows for a person or for another program."""
    if as_json:
        print(json.dumps(found, ensure_ascii=False, allow_nan=False))
        return
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if not sys.stdout.isatty():
        for line in [columns, *([plain_cell(row.get(column)) for column in columns] for row in rows)]:
            print("\t".join(line))
        return
    table = Table(*columns, title=Text(title))
    for row in rows:
        table.add_row(*(escape(short_cell(row.get(column))) for column in columns))
    Console().print(table)


def speed_rows(found: Mapping[str, Any]) -> list[Row]:
    """Return one row a model: tokens a second, how many times those of the first, and memory."""
    rows: list[Row] = []
    for name, times in found["models"].items():
        ratios = found["ratios"].get(name)
        row: dict[str, Any] = {"model": name, "prefill": round(times["prefill"], 1)}
        row["prefill_ratio"] = round(ratios["prefill"]["value"], 3) if ratios else 1.0
        for size, value in times["decode"].items():
            row[f"decode_batch_{size}"] = round(value, 1)
            row[f"decode_ratio_batch_{size}"] = round(ratios["decode"][size]["value"], 3) if ratios else 1.0
        rows.append(row | {"peak_bytes": times["peak_bytes"], "cache_bytes_per_token": times["cache_bytes"]})
    return rows


def plain_cell(value: Any) -> str:
    """Return a value for another program: in full, and without the characters that part cells and lines."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else " ".join(str(value).split())


def short_cell(value: Any) -> str:
    """Return a value for a person: numbers to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else plain_cell(value)


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


def say_beside_bars(text: str) -> None:
    """Print a line for a person while a progress bar may be shown."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


def say_unless(as_json: bool, text: str) -> None:
    """Print a remark for a person."""
    if not as_json:
        print(text, file=sys.stderr)
