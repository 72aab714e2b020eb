"""Look a name up in a table of records, with an error that helps."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

Record = TypeVar("Record")


def lookup(table: Mapping[str, Record], name: str, what: str) -> Record:
    """Return the record of a name.

    Args:
        table: records by name.
        name: what is looked for.
        what: what the records are, for the message.

    Raises:
        LookupError: the table has no such name; near matches are given.
    """
    if name not in table:
        near = difflib.get_close_matches(name, table, n=2)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise LookupError(f"unknown {what} {name!r}: {hint}known {what}s: {', '.join(table)}")
    return table[name]
