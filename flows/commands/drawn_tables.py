"""Results as tables on a terminal: short numbers to the right, units in the heads, intervals in brackets."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from flows.commands.printing import columns_of, plain_cell
from flows.commands.result_rows import Row

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
}
"""What columns are called for a person, with their units."""

UNITS = {"peak_bytes": 1e6, "cache_bytes_per_token": 1e3, "bytes": 1e3}
"""Columns whose numbers are divided, so that a person can read them."""

WORDS = {"removed": ("removed", ""), "shot_noise": ("noisy", ""), "passed": ("yes", "FAILED")}
"""What true and false are called in a column where `yes` and `no` would say less."""

INTERVAL = "95 % interval"


def draw(rows: Sequence[Row], title: str) -> None:
    """Print rows as a table for a person; without rows the title alone says so."""
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
        # Beside the word, for those who see it.
        table.add_row(*map(Text, shown), style="bold" if row.get("removed") is True else None)
    # Where the terminal is too narrow its own line breaks lose nothing; rich would cut.
    least = Measurement.get(console, console.options.update(max_width=10_000), table).minimum
    console.print(table, width=max(console.width, least), crop=False, soft_wrap=least > console.width)


def drawn_columns(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the cells of each column; low and high become one, and a ratio stands behind what it is of."""
    names = columns_of(rows)
    found = {name: _column(name, [row.get(name) for row in rows]) for name in names}
    for name in names:
        if (of := name.replace("_ratio", "")) != name and of in found:
            del found[name]
            ratios = [short_cell(row[name], digits=2) for row in rows]
            found[of] = [f"{cell} (x{ratio})" for cell, ratio in zip(found[of], ratios, strict=True)]
            low, high = (name.replace("_ratio", f"_ratio_{end}") for end in ("low", "high"))
            if low in found:
                del found[low], found[high]
                pairs = [_bracket(row[low], row[high], 2) for row in rows]
                found[of] = ["\n".join(filter(None, both)) for both in zip(found[of], pairs, strict=True)]
    if "low" not in found or "high" not in found:
        return found
    ends = [value for row in rows for value in (row.get("low"), row.get("high"))]
    digits = _digits(ends)
    pairs = [_bracket(low, high, digits) for low, high in zip(ends[::2], ends[1::2], strict=True)]
    found["low"] = pairs
    del found["high"]
    return {INTERVAL if name == "low" else name: cells for name, cells in found.items()}


def _bracket(low: Any, high: Any, digits: int | None) -> str:
    """Return an interval, nothing where there is none."""
    return f"[{short_cell(low, digits=digits)}, {short_cell(high, digits=digits)}]" if low is not None else ""


def head_of(column: str) -> str:
    """Return what a column is called for a person."""
    if column.startswith("decode_batch_"):
        return f"decode, batch {column.removeprefix('decode_batch_')}, tokens/s"
    return HEADS.get(column, column.replace("_", " "))


def short_cell(value: Any, column: str = "", digits: int | None = None) -> str:
    """Return a value for a person: numbers to so many decimals, or to four digits, in the column's unit."""
    if isinstance(value, bool):
        return WORDS.get(column, ("yes", "no"))[not value]
    if column in UNITS and _is_number(value) and value is not None:
        return f"{value / UNITS[column]:,.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if digits is None else f"{value:,.{digits}f}"
    # Of a folder the name alone: its path would take the room of the numbers.
    return Path(value).name if column == "model" and Path(value).is_absolute() else plain_cell(value)


def _column(name: str, values: Sequence[Any]) -> list[str]:
    """Return the cells of a column, numbers with as many decimals in each."""
    digits = _digits(values)
    return [short_cell(value, name, digits) for value in values]


def _digits(values: Sequence[Any]) -> int | None:
    """Return how many decimals show the largest number to four digits and the smallest to two, if any do."""
    sizes = [abs(value) for value in values if isinstance(value, float) and value and math.isfinite(value)]
    if not sizes:
        return None
    digits = max(0, 3 - max(0, math.floor(math.log10(max(sizes)))))
    digits += max(sizes) < 1
    return digits if min(sizes) >= 10.0 ** (1 - digits) / 2 else None


def _is_number(value: Any) -> bool:
    """Tell whether a value is a number, or one that is not known."""
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
