"""Print the results of commands: one JSON object, a table on a terminal, or plain lines in a pipe.

A table has short numbers to the right, units in the heads and intervals in brackets.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
"""Column by column: a value is free-form, and columns keep their names from version to version."""

HEADS = {
    "normalised": "share of sum",
    "cumulative": "running sum",
    "removed": "goes",
    "frequency": "share of resamples",
    "shot_noise": "shot noise",
    "probe_auroc": "probe AUROC",
    "prefill": "prefill, tokens/s",
    "peak_bytes": "peak, MB",
    "cache_bytes_per_token": "cache, kB a token",
    "bytes": "size, kB",
    "tokens": "tokens read",
    "train_loss": "train loss, nats/token",
    "validation_loss": "validation loss, nats/token",
    "at_a_time": "at a time",
    "removed_layers": "layers removed",
    "loss": "loss, nats/token",
    "over_dense": "above dense",
    "parameters": "parameters, M",
    "preferred": "truth preferred",
}
"""Heads of columns on a terminal, with their units."""

UNITS = {"peak_bytes": 1e6, "cache_bytes_per_token": 1e3, "bytes": 1e3, "parameters": 1e6}
"""Divisors of columns on a terminal."""

WORDS = {
    "removed": ("removed", ""),
    "knee": ("knee", ""),
    "shot_noise": ("noisy", ""),
    "passed": ("yes", "FAILED"),
}
"""Words for true and false in columns where `yes` and `no` would say less."""

INTERVAL = "95 % interval"


def show(record: Mapping[str, Any], rows: Sequence[Row], *, title: str, as_json: bool) -> None:
    """Print a record as one JSON object, or its rows for a person or for another program.

    JSON has every digit, and null for a number that is not finite. In a pipe the first line names the
    columns, cells are separated by one tab, and numbers have every digit.
    """
    if as_json:
        print(json.dumps(finite(record), ensure_ascii=False, allow_nan=False))
        return
    if sys.stdout.isatty():
        draw(rows, title)
        return
    columns = columns_of(rows)
    for line in [columns, *([plain_cell(row.get(column)) for column in columns] for row in rows)]:
        print("\t".join(line))


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Return every key of the rows, in order of appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def plain_cell(value: Any) -> str:
    """Return a value for another program: in full, without tabs and line breaks."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else " ".join(str(value).split())


def finite(value: Any) -> Any:
    """Return JSON values with None for each number that is not finite."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(text: str) -> None:
    """Print a line for a person on standard error, above bars."""
    print(text, file=sys.stderr, flush=True)


def say_unless(as_json: bool, text: str) -> None:
    """Print a line for a person, unless the output is JSON."""
    if not as_json:
        say(text)


def draw(rows: Sequence[Row], title: str) -> None:
    """Print rows as a table; without rows the title and `none`."""
    # Only a terminal needs it.
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not rows:
        console.print(Text(f"{title}: none"))
        return
    columns = drawn_columns(rows)
    table = Table(
        title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    for name, cells in columns.items():
        numbers = name == INTERVAL or all(_is_number(row.get(name)) for row in rows)
        head = head_of(name)
        # Heads break between words; numbers are never cut.
        lines = [line for cell in cells for line in cell.split("\n")]
        least = max(map(len, [*head.split(), *(lines if numbers else [])]))
        table.add_column(Text(head), justify="right" if numbers else "left", overflow="fold", min_width=least)
    for row, shown in zip(rows, zip(*columns.values(), strict=True), strict=True):
        # In addition to the word.
        table.add_row(*map(Text, shown), style="bold" if row.get("removed") is True else None)
    # Where the terminal is too narrow its own line breaks lose nothing; rich would cut.
    least = Measurement.get(console, console.options.update(max_width=10_000), table).minimum
    console.print(table, width=max(console.width, least), crop=False, soft_wrap=least > console.width)


def drawn_columns(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the cells of each column; low and high become one, and a ratio stands behind its figure."""
    names = columns_of(rows)
    columns = {name: _column(name, [row.get(name) for row in rows]) for name in names}
    for name in names:
        if (of := name.replace("_ratio", "")) != name and of in columns:
            del columns[name]
            ratios = [short_cell(row[name], digits=2) for row in rows]
            columns[of] = [f"{cell} (x{ratio})" for cell, ratio in zip(columns[of], ratios, strict=True)]
            low, high = (name.replace("_ratio", f"_ratio_{end}") for end in ("low", "high"))
            if low in columns:
                del columns[low], columns[high]
                pairs = [_bracket(row[low], row[high], 2) for row in rows]
                columns[of] = ["\n".join(filter(None, both)) for both in zip(columns[of], pairs, strict=True)]
    for name in names:
        low, high = f"{name}_low", f"{name}_high"
        if name in columns and low in columns and high in columns:
            columns[name] = _with_interval(columns[name], [(row[low], row[high]) for row in rows])
            del columns[low], columns[high]
    if "low" not in columns or "high" not in columns:
        return columns
    ends = [value for row in rows for value in (row.get("low"), row.get("high"))]
    digits = _digits(ends)
    pairs = [_bracket(low, high, digits) for low, high in zip(ends[::2], ends[1::2], strict=True)]
    columns["low"] = pairs
    del columns["high"]
    return {INTERVAL if name == "low" else name: cells for name, cells in columns.items()}


def _with_interval(cells: Sequence[str], pairs: Sequence[tuple[Any, Any]]) -> list[str]:
    """Return cells with the interval of each under it."""
    digits = _digits([end for pair in pairs for end in pair])
    lines = [(cell, _bracket(*pair, digits)) for cell, pair in zip(cells, pairs, strict=True)]
    return ["\n".join(filter(None, each)) for each in lines]


def _bracket(low: Any, high: Any, digits: int | None) -> str:
    """Return an interval in brackets, an empty text without one."""
    return f"[{short_cell(low, digits=digits)}, {short_cell(high, digits=digits)}]" if low is not None else ""


def head_of(column: str) -> str:
    """Return the head of a column."""
    if column.startswith("decode_batch_"):
        return f"decode, batch {column.removeprefix('decode_batch_')}, tokens/s"
    return HEADS.get(column, column.replace("_", " "))


def short_cell(value: Any, column: str = "", digits: int | None = None) -> str:
    """Return a value for a person: numbers to `digits` decimals, or to four digits, in the column's unit."""
    if isinstance(value, bool):
        return WORDS.get(column, ("yes", "no"))[not value]
    if column in UNITS and _is_number(value) and value is not None:
        return f"{value / UNITS[column]:,.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if digits is None else f"{value:,.{digits}f}"
    # Only the name of a folder: its path would take the room of the numbers.
    return Path(value).name if column == "model" and Path(value).is_absolute() else plain_cell(value)


def _column(name: str, values: Sequence[Any]) -> list[str]:
    """Return the cells of a column, all numbers with the same decimals."""
    digits = _digits(values)
    return [short_cell(value, name, digits) for value in values]


def _digits(values: Sequence[Any]) -> int | None:
    """Return the decimals that show the largest number to four digits and the smallest to two, or None."""
    sizes = [abs(value) for value in values if isinstance(value, float) and value and math.isfinite(value)]
    if not sizes:
        return None
    digits = max(0, 3 - max(0, math.floor(math.log10(max(sizes)))))
    digits += max(sizes) < 1
    return digits if min(sizes) >= 10.0 ** (1 - digits) / 2 else None


def _is_number(value: Any) -> bool:
    """Tell whether a value is a number or None."""
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
