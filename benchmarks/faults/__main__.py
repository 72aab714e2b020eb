"""Try faults on the whole pipeline, and print what came of each: `python -m benchmarks.faults --work DIR`.

Clones the project into DIR, runs the pipeline once, undisturbed, on a tiny model, and tries each fault on a
copy of that clone: a kill at an exact point, a damaged file, a full or read-only disk, several pipelines at
once. After each fault a plain `make repro` must end with the dvc.lock, the files and the metrics of the
undisturbed run, and leave no RUNNING run, no half-written file and no process. Ends with code 1 if a row is
red.
"""

import argparse
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import psutil

from benchmarks.faults.checks import problems
from benchmarks.faults.clone import clone, copy, tiny_model
from benchmarks.faults.damage import DAMAGE
from benchmarks.faults.disks import DISKS, unmount
from benchmarks.faults.pipelines import PIPELINES
from benchmarks.faults.rows import KILLS, Place, RedError, Row, SkipError
from benchmarks.faults.runs import processes_in, repro

ROWS: tuple[Row, ...] = (*KILLS, *DAMAGE, *DISKS, *PIPELINES)


@dataclass(frozen=True)
class Result:
    """The outcome of a fault."""

    row: Row
    state: str
    """ok, RED or skipped."""
    said: str
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and return 1 if a row is red."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, help="a folder for the clones, made if it is missing")
    parser.add_argument("--rows", default="", metavar="PATTERN", help="regular expression of rows' names")
    parser.add_argument("--list", action="store_true", help="print the rows' names alone")
    parser.add_argument("--jobs", type=int, default=1, help="rows tried at a time")
    options = parser.parse_args(arguments)
    rows = [row for row in ROWS if re.search(options.rows, row.name)]
    if not rows:
        parser.error(f"no row's name has {options.rows!r}; --list prints them")
    if options.list:
        print("\n".join(row.name for row in rows))
        return 0
    if options.work is None:
        parser.error("--work names a folder for the clones")
    # A shell starts what runs in its background deaf to Ctrl-C, and the rows' commands would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    results = run_rows(rows, options.work.resolve(), options.jobs)
    print_table(results)
    return int(any(result.state == "RED" for result in results))


def run_rows(rows: Sequence[Row], work: Path, jobs: int = 1) -> list[Result]:
    """Make the undisturbed clone if it is missing, and try each row on a copy of it.

    Raises:
        RuntimeError: the undisturbed run failed.
    """
    template = undisturbed(work)
    with shared_server(work) as server, ThreadPoolExecutor(jobs) as pool:
        numbered = [(row, work / f"row-{number:02}", template, server) for number, row in enumerate(rows)]
        results = []
        for result in pool.map(lambda each: try_row(*each), numbered):
            results.append(result)
            print(
                f"{result.state:8} {result.seconds:5.0f} s  {result.row.name}: {result.said}",
                file=sys.stderr,
                flush=True,
            )
    return results


def undisturbed(work: Path, stages: Sequence[str] = ()) -> Path:
    """Return a clone in which the pipeline has run from start to end.

    Args:
        work: the folder around it.
        stages: stages of the pipeline; empty for all.

    Raises:
        RuntimeError: it failed; shows its output.
    """
    template = work / "undisturbed"
    if (work / "whole").is_file():
        return template
    work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(template, ignore_errors=True)
    clone(template, tiny_model(work / "model"), stages)
    ran = repro(template)
    if ran.code:
        raise RuntimeError(f"the undisturbed run ended with code {ran.code}:\n{ran.output}")
    (work / "whole").touch()
    return template


@contextmanager
def shared_server(work: Path) -> Iterator[str]:
    """Yield the address of one Prefect server for all rows without their own."""
    with patch.dict(os.environ, {"AVSS_HOME": str(work / "server")}):
        os.environ.pop("PREFECT_API_URL", None)
        # Reads the environment when it is imported.
        from flows.running.server import prefect_server

        with prefect_server() as address:
            yield address


def try_row(row: Row, folder: Path, template: Path, server: str) -> Result:
    """Try a fault on a copy of the undisturbed clone; the copy stays if the row is red."""
    clear(folder)
    copy(template, folder)
    began = time.monotonic()
    state, said = "ok", ""
    try:
        said = row.act(Place(folder, template, server))
        ran = repro(folder, server=None if row.own_server else server)
        if wrong := problems(folder, template, ran):
            state, said = "RED", f"{said}; then {'; '.join(wrong[:4])}"
    except (RedError, TimeoutError) as red:
        state, said = "RED", str(red)
    except SkipError as skip:
        state, said = "skipped", str(skip)
    except Exception as error:  # the other rows go on
        state, said = "RED", f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - began
    if state != "RED":
        clear(folder)
    return Result(row, state, said.replace(f"{folder}/", ""), seconds)


def clear(folder: Path) -> None:
    """Remove a clone, the files beside it that begin with its name, and the processes in it."""
    for process in processes_in(folder):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    unmount(folder)
    for path in folder.parent.glob(f"{folder.name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def print_table(results: Sequence[Result]) -> None:
    """Print a row a fault: in colour at a terminal, else as Markdown."""
    counted = {state: sum(result.state == state for result in results) for state in ("ok", "RED", "skipped")}
    words = ", ".join(f"{count} {state}" for state, count in counted.items() if count)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table("fault", "result", "what the run said", "s")
        colours = {"ok": "green", "RED": "red", "skipped": "yellow"}
        for each in results:
            state = f"[{colours[each.state]}]{each.state}[/]"
            table.add_row(each.row.name, state, each.said, f"{each.seconds:.0f}")
        Console().print(table)
    else:
        print("| fault | result | what the run said | s |\n| --- | --- | --- | ---: |")
        for each in results:
            said = each.said.replace("|", "\\|")
            print(f"| {each.row.name} | {each.state} | {said} | {each.seconds:.0f} |")
    print(f"\n{len(results)} rows: {words}")


if __name__ == "__main__":
    sys.exit(main())
