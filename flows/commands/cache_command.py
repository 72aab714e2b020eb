"""`avss cache`: list the kept results of units, remove some, and check that all are whole."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avss_core.cli.errors import CheckFailedError
from avss_core.cli.options import AsJson
from avss_core.cli.printing import say_unless, show

if TYPE_CHECKING:
    from tasks.cache.result_cache import Entry

cache = typer.Typer(
    no_args_is_help=True,
    help="Look at the results of finished units that later runs use again, remove some, and check them all.",
)


@cache.command("ls")
def list_entries(as_json: AsJson = False) -> None:
    """List the results that are kept, with the totals of each unit.

    A result is current if the code and the libraries that made it are those
    that are here, outdated if no run can use it again, and broken if it is not
    what was written; then it is computed again.

    Example: avss cache ls
    """
    folder, entries = _read()
    rows, units = _rows(entries), _totals(entries)
    if not as_json:
        for unit, total in units.items():
            counts = ", ".join(f"{total[key]} {key}" for key in ("outdated", "broken") if total[key])
            print(
                f"{unit}: {total['entries']} entries, {total['bytes'] / 1e6:.1f} MB"
                + (f" ({counts})" if counts else ""),
                file=sys.stderr,
            )
    record = {"folder": str(folder), "entries": rows, "units": units}
    show(record, _shown(rows), title=f"Results in {folder}", as_json=as_json)


@cache.command("rm")
def remove_entries(
    which: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WHICH]...", help="Names of units, and first digits of keys."),
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(help="Only what was written this long ago: 90m, 12h, 30d, 2w.")
    ] = None,
    broken: Annotated[bool, typer.Option("--broken", help="Only what is broken.")] = False,
    outdated: Annotated[bool, typer.Option("--outdated", help="Only what no run can use again.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All of it.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --all: do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove results: of units or keys, old, broken or outdated ones, or all.

    Whatever is removed is computed again when a run needs it.

    Example: avss cache rm --outdated --older-than 30d
    """
    from tasks.cache.result_cache import seconds_of, select
    from tasks.cache.stored_results import remove

    states = [name for name, asked in (("broken", broken), ("outdated", outdated)) if asked]
    if everything == bool(which or states or older_than):
        raise ValueError(
            "say what to remove: names of units or first digits of keys, --older-than, --broken, --outdated, "
            "or --all alone"
        )
    folder, entries = _read()
    chosen = select(
        entries, which or [], older_than=seconds_of(older_than) if older_than else 0, states=states
    )
    if not chosen:
        raise LookupError(f"nothing in {folder} matches; `avss cache ls` lists what is there")
    if everything and not yes:
        _ask(len(chosen), folder)
    for entry in chosen:
        remove(entry.path)
    rows = _rows(chosen)
    total = {"removed": len(rows), "bytes": sum(row["bytes"] for row in rows)}
    say_unless(as_json, f"{total['removed']} results removed, {total['bytes'] / 1e6:.1f} MB")
    show(total | {"entries": rows}, _shown(rows), title="Removed", as_json=as_json)


@cache.command("verify")
def verify_entries(as_json: AsJson = False) -> None:
    """Read every result and name those that are broken; exit code 1 where one is.

    Example: avss cache verify
    """
    _, entries = _read()
    broken = _rows([entry for entry in entries if entry.problem])
    show({"entries": len(entries), "broken": broken}, _shown(broken), title="Broken results", as_json=as_json)
    if broken:
        raise CheckFailedError(
            f"{len(broken)} of {len(entries)} results are broken; a run computes them again when it needs "
            "them, and `avss cache rm --broken` removes them"
        )
    say_unless(as_json, f"{len(entries)} results, all as they were written")


def _read() -> "tuple[Path, list[Entry]]":
    """Return the folder of the results, and all of them."""
    from tasks.cache.result_cache import read_entries
    from tasks.cache.stored_results import storage_folder

    folder = storage_folder()
    return folder, read_entries(folder)


def _rows(entries: Sequence["Entry"]) -> list[dict[str, Any]]:
    """Return one row for each result."""
    return [
        {"unit": e.unit, "key": e.key, "bytes": e.size, "age": round(e.age), "state": e.state}
        | ({"problem": e.problem} if e.problem else {})
        for e in entries
    ]


def _shown(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows for a terminal: the first digits of keys, and ages in the largest unit of time."""
    if not sys.stdout.isatty():
        return list(rows)
    return [row | {"key": row["key"][:12], "age": _age_text(row["age"])} for row in rows]


def _totals(entries: Sequence["Entry"]) -> dict[str, dict[str, int]]:
    """Return number and bytes of each unit's results, and how many are outdated or broken."""
    totals: dict[str, dict[str, int]] = {}
    for entry in entries:
        total = totals.setdefault(entry.unit, {"entries": 0, "bytes": 0, "outdated": 0, "broken": 0})
        total["entries"] += 1
        total["bytes"] += entry.size
        if entry.state in total:
            total[entry.state] += 1
    return totals


def _age_text(seconds: int) -> str:
    """Return an age in days, hours or minutes."""
    for unit, size in (("d", 86400), ("h", 3600)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds // 60}m"


def _ask(count: int, folder: Path) -> None:
    """Ask on a terminal whether to remove all results.

    Raises:
        ValueError: nobody can be asked, or the answer is no.
    """
    if not _at_terminal():
        raise ValueError(f"--all would remove {count} results; give --yes with it where nobody can be asked")
    if not typer.confirm(f"Remove all {count} results in {folder}?", err=True):
        raise ValueError("nothing was removed")


def _at_terminal() -> bool:
    """Tell whether a person can be asked."""
    return sys.stdin.isatty()
