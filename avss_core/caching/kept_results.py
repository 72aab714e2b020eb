"""Run units in this process, and keep what they return in a folder, so that a stopped command goes on."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from avss_core.caching.unit import Unit
from avss_core.display.steps import progress
from avss_core.files.writing import write_text


@runtime_checkable
class Run(Protocol):
    """Runs units: returns their results in the shape of `jobs`, nested dicts and lists of units' calls."""

    def __call__(self, jobs: Any, label: str, *, threads: bool = False, sizes: Sequence[float] = ()) -> Any:
        """Return the results.

        Args:
            jobs: units with their arguments (`functools.partial`); those of one model stand together.
            label: name of the bar.
            threads: whether these units may run in several threads of one process.
            sizes: work of each unit, for the time left; equal if empty.
        """


def run_kept(folder: Path | None, workers: int = 1) -> Run:
    """Return what runs units in this process; results are read from a folder and kept in it.

    A result is a line of JSON behind its SHA-256, in a file named by the unit's key. It may be removed at any
    time; one that is damaged is computed again.

    Args:
        folder: where results lie; None keeps nothing.
        workers: units at a time, where they may run in threads; others run one after another.
    """

    def run(jobs: Any, label: str, *, threads: bool = False, sizes: Sequence[float] = ()) -> Any:
        flat = list(leaves(jobs))
        with progress(label, len(flat), "units", sizes) as advance:

            def result(job: "partial[Any]") -> Any:
                return counted(advance, _result(folder, job))

            if not threads or min(workers, len(flat)) < 2:
                return filled(jobs, iter([result(job) for job in flat]))
            with ThreadPoolExecutor(workers) as pool:
                return filled(jobs, iter(list(pool.map(result, flat))))

    return run


def leaves(jobs: Any) -> Iterator[Any]:
    """Yield the units of a nest of dicts and lists, in order."""
    if isinstance(jobs, (dict, list)):
        for inner in jobs.values() if isinstance(jobs, dict) else jobs:
            yield from leaves(inner)
    else:
        yield jobs


def filled(jobs: Any, results: Iterator[Any]) -> Any:
    """Return the nest with each unit's result in its place."""
    if isinstance(jobs, dict):
        return {name: filled(inner, results) for name, inner in jobs.items()}
    return [filled(inner, results) for inner in jobs] if isinstance(jobs, list) else next(results)


def counted(advance: Callable[[int], None], result: Any) -> Any:
    """Advance the bar by one unit, and return its result."""
    advance(1)
    return result


def _result(folder: Path | None, job: "partial[Any]") -> Any:
    """Return the result of a unit, kept or computed."""
    if folder is None or not isinstance(job.func, Unit):
        return job()
    path = folder / job.func.key(job.args, job.keywords)
    with suppress(OSError, ValueError):
        return _read(path)
    result = job()
    text = json.dumps(result)
    with suppress(OSError):  # a folder that cannot be written keeps nothing
        write_text(path, f"{hashlib.sha256(text.encode()).hexdigest()} {text}\n")
    return result


def _read(path: Path) -> Any:
    """Return a kept result.

    Raises:
        OSError: there is none.
        ValueError: it is not what was written.
    """
    digest, _, text = path.read_text(encoding="utf-8").rstrip("\n").partition(" ")
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise ValueError(f"{path} does not have the checksum that it was written with")
    return json.loads(text)
