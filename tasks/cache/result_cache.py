"""The cache of results as a whole: what it holds, what is still of use, and what to remove."""

import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from avss_core.caching.fingerprints import fingerprint, units
from avss_core.caching.unit import CODE_DIGITS
from tasks.cache.stored_results import problem_of

_NAME = re.compile(r"(.+)-([0-9a-f]{64})")
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class Entry:
    """One result on disk."""

    unit: str
    key: str
    path: Path
    size: int
    """Bytes."""
    age: float
    """Seconds since it was written."""
    problem: str | None
    """What is wrong with it, None if it is whole."""
    current: bool
    """Whether the code and the libraries that made it are still the same."""

    @property
    def state(self) -> str:
        """Return `current`, `outdated` (no run will use it) or `broken` (it would be computed again)."""
        return "broken" if self.problem else "current" if self.current else "outdated"


def read_entries(folder: Path) -> list[Entry]:
    """Return the results in a folder, each read and checked; other files are left alone."""
    now, modules = time.time(), units()
    entries = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if name := _NAME.fullmatch(path.name):
            unit, key = name.groups()
            code = fingerprint(modules[unit]) if unit in modules else ""
            current = code != "" and key.endswith(code[:CODE_DIGITS])
            known = path.lstat()
            age = max(0.0, now - known.st_mtime)
            entries.append(Entry(unit, key, path, known.st_size, age, problem_of(path), current))
    return entries


def select(
    entries: Sequence[Entry], which: Sequence[str], *, older_than: float = 0, states: Collection[str] = ()
) -> list[Entry]:
    """Return the entries of some units or keys that are old enough and in one of the states.

    Args:
        entries: all entries.
        which: names of units and first digits of keys; empty for all.
        older_than: seconds.
        states: values of `Entry.state`; empty for all.

    Raises:
        LookupError: one of `which` has no entry.
    """
    missing = [wanted for wanted in which if not any(_is(entry, wanted) for entry in entries)]
    if missing:
        raise LookupError(
            f"no entry has the unit or the key {', '.join(missing)}; `avss cache ls` lists what is there"
        )
    return [
        entry
        for entry in entries
        if (not which or any(_is(entry, wanted) for wanted in which))
        and entry.age >= older_than
        and (not states or entry.state in states)
    ]


def seconds_of(text: str) -> float:
    """Return the seconds of a time such as 90m, 12h, 30d or 2w.

    Raises:
        ValueError: the text is not such a time.
    """
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text.strip())
    if parts is None:
        raise ValueError(f"{text!r} is not a time: give a number and m, h, d or w, such as 30d")
    return float(parts[1]) * _SECONDS[parts[2]]


def _is(entry: Entry, wanted: str) -> bool:
    """Return whether a name of a unit or the first digits of a key mean an entry."""
    return wanted == entry.unit or entry.key.startswith(wanted)
