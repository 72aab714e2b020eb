"""The names of tables that need torch, for help texts and checks of settings; look a record up by name."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from avss_core.plugins import Table

Record = TypeVar("Record")


def _site(score: Any) -> str | None:
    """Return the site of a score; that it is one is checked where torch may be loaded."""
    site: str | None = getattr(score, "site", None)
    return site


_OWN_SITES: dict[str, str | None] = {
    "avss": "update",
    "avss_input": "update",
    "avss_output": "output",
    "avss_authors": "output",
    "relative_variance": "update",
    "block_influence": None,
    "angular": None,
    "relative_magnitude": None,
    "last_n": None,
    "random": None,
    "traversal": None,
    "greedy": None,
    "greedy_repaired": None,
    "repairability": None,
}

SCORE_SITES = Table(_OWN_SITES, "avss.scores", _site)
"""By score the activation site that must be collected for it; None if any or none will do."""

CHEAPEST = "cheapest"
"""In the place of a score's name: of the compared scores the one whose choice costs least after a repair."""

READING_NAMES = ["eavss", "eavss_contrast", "eavss_paired"]
"""The EAVSS readings."""

CONTROL_NAMES = ["cross_entropy", "random", "lowest", "all"]
"""The controls of the mitigation."""


def require_declared(written: Iterable[object], declared: Iterable[object], what: str) -> None:
    """Compare the rows of a table with those that this module declares.

    Args:
        written: names, or names with what is declared of them, in the order of the table.
        declared: the same as this module has it.
        what: what the table is called, for the message.

    Raises:
        LookupError: a row differs, is missing or is in excess; names it.
    """
    table, here = list(written), list(declared)
    if table != here:
        strange = [row for row in [*table, *here] if row not in table or row not in here] or ["their order"]
        raise LookupError(f"{what} and avss_core/registry.py disagree about {strange[0]}: change one of them")


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
