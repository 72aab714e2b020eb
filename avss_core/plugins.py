"""Scores, judges and architectures that other distributions bring, found by their entry points.

A distribution names a record in its metadata, such as `mine = "package.module:RECORD"` in the group
`avss.scores`. Its module is imported when that record is asked for, so that a broken one stops nobody else.
"""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

Record = TypeVar("Record")

Point = Any
"""An `importlib.metadata.EntryPoint`; or one of a copy of that module, where something was loaded anew."""

GROUPS = {"avss.scores": "score", "avss.judges": "judge", "avss.architectures": "architecture"}
"""What the entry points of each group name."""


class Table(MutableMapping[str, Record]):
    """Records by name: the project's own, and behind them those that installed distributions bring."""

    def __init__(self, own: Mapping[str, Record], group: str, read: Callable[[Any], Record]) -> None:
        """Make a table.

        Args:
            own: the project's records, in the order in which they are listed.
            group: a key of `GROUPS`.
            read: returns the record of what an entry point names, and raises an error for anything else.
        """
        self.own = dict(own)
        self.group, self._read = group, read
        self._loaded: dict[str, Record] = {}

    def __getitem__(self, name: str) -> Record:
        """Return a record; that of an entry point is imported.

        Raises:
            KeyError: there is none.
            ValueError: an entry point has the name of another record.
            ImportError: what the entry point names cannot be imported, or is no such record.
        """
        points = entries(self.group).get(name, ())
        if len(points) + (name in self.own) > 1:
            holders = ["AVSS itself"] * (name in self.own) + [brought_by(point) for point in points]
            raise ValueError(
                f"the {GROUPS[self.group]} {name!r} is there {len(holders)} times: of "
                f"{' and of '.join(holders)}; rename it in the entry points of a distribution, or remove that"
            )
        if not points:
            return self.own[name]
        if name not in self._loaded:
            self._loaded[name] = self._load(points[0])
        return self._loaded[name]

    def __setitem__(self, name: str, record: Record) -> None:
        self.own[name] = record

    def __delitem__(self, name: str) -> None:
        del self.own[name]

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in entries(self.group)

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from (name for name in entries(self.group) if name not in self.own)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _load(self, point: Point) -> Record:
        try:
            return self._read(point.load())
        except Exception as error:  # whatever a module of somebody else raises
            raise ImportError(
                f"the {GROUPS[self.group]} {point.name!r} of {brought_by(point)} cannot be loaded from "
                f"{point.value}: {type(error).__name__}: {error}; mend or remove that distribution"
            ) from error


def record_of(kind: type[Record]) -> Callable[[Any], Record]:
    """Return the check that an entry point names a record of a kind."""

    def read(value: Any) -> Record:
        if not isinstance(value, kind):
            raise TypeError(f"it is of the type {type(value).__name__}, and a {kind.__name__} is expected")
        return value

    return read


@cache
def entries(group: str) -> dict[str, tuple[Point, ...]]:
    """Return the entry points of a group by name; the first answer stays for the life of the process."""
    named: dict[str, tuple[Point, ...]] = {}
    for point in entry_points(group=group):
        named[point.name] = (*named.get(point.name, ()), point)
    return named


def brought_by(point: Point) -> str:
    """Return the distribution of an entry point, in words."""
    return f"the distribution {point.dist.name} {point.dist.version}" if point.dist else "no distribution"


def source_files(point: Point) -> list[Path]:
    """Return the sources of the top-level package or module of an entry point, which is not imported."""
    spec = importlib.util.find_spec(point.module.partition(".")[0])
    if spec is None:
        return []
    folders = [Path(place) for place in spec.submodule_search_locations or ()]
    if folders:
        return sorted(path for folder in folders for path in folder.rglob("*.py"))
    return [Path(spec.origin)] if spec.origin else []
