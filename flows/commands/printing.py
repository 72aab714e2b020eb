"""How the results of commands are printed: JSON, a table on a terminal, or plain lines in a pipe."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from flows.commands.result_rows import Row


def show(found: Mapping[str, Any], rows: Sequence[Row], *, title: str, as_json: bool) -> None:
    """Print a result: whole as one JSON object, or its rows for a person or for another program.

    JSON has every digit, and null where a number is not finite. In a pipe the first line names the columns,
    cells are parted by one tab, numbers have every digit, and nothing is coloured.
    """
    if as_json:
        print(json.dumps(finite(found), ensure_ascii=False, allow_nan=False))
        return
    if sys.stdout.isatty():
        # Not imported for those who look at no table.
        from flows.commands.drawn_tables import draw

        draw(rows, title)
        return
    columns = columns_of(rows)
    for line in [columns, *([plain_cell(row.get(column)) for column in columns] for row in rows)]:
        print("\t".join(line))


def columns_of(rows: Sequence[Row]) -> list[str]:
    """Return every key of rows once, in the order in which they come."""
    return list(dict.fromkeys(key for row in rows for key in row))


def plain_cell(value: Any) -> str:
    """Return a value for another program: in full, and without the characters that part cells and lines."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else " ".join(str(value).split())


def finite(value: Any) -> Any:
    """Return JSON values with None for each number that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(text: str) -> None:
    """Print a line for a person on standard error, above bars where there are any."""
    print(text, file=sys.stderr, flush=True)


def say_unless(as_json: bool, text: str) -> None:
    """Print a remark for a person, who does not read JSON."""
    if not as_json:
        say(text)
