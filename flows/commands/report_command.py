"""`avss report`: the page of a run, its results as Markdown, or two runs side by side."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from avss_core.cli.errors import quiet
from avss_core.cli.options import Set
from avss_core.cli.printing import show
from avss_core.display.steps import working
from avss_core.settings.places import DEFAULT_PARAMS
from flows import PROJECT, ROOT
from flows.running.workspace import Workspace

PAGE = Path("compare.html")
"""Where the page of a comparison goes unless --out names a file."""


def report(
    workspace: Annotated[
        Path,
        typer.Option(
            help="The folder of `avss run --output`, or the repository.", show_default="the repository"
        ),
    ] = PROJECT,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the results as Markdown tables instead.")
    ] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="RUN_A RUN_B",
            help="Compare two runs instead: folders of `avss run --output`, their reports folders, the "
            "repository, or ids of pipeline runs in MLflow.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File of the page that --compare writes.", show_default="compare.html"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what --compare finds as one JSON object.")
    ] = False,
    changes: Set = None,
    params: Annotated[
        Path | None,
        typer.Option(
            help="File with all settings.",
            show_default="params.yaml of the workspace, else of the project",
        ),
    ] = None,
) -> None:
    """Render the page again from the results of a run, and print where it is; or compare two runs.

    Example: avss report --workspace runs/forty

    Example: avss report --compare runs/ten runs/forty --out compare.html
    """
    from avss_core.settings.reading import load_params

    place = Workspace(workspace)
    own = place.settings if place.settings.is_file() else DEFAULT_PARAMS
    checked = load_params(params or own, changes)
    if compare is not None:
        compare_reports(compare, seed=checked.seed, out=out, as_markdown=markdown, as_json=as_json)
        return
    if out is not None or as_json:
        raise ValueError("--out and --json belong to --compare RUN_A RUN_B")
    needed = (place.scores, place.evaluation, place.healing, place.mitigation)
    missing = [path for path in needed if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"{workspace} does not hold the results of a run: {missing[0]} is missing; run `make repro`, or "
            "`avss run --output DIR` and name that DIR with --workspace"
        )
    if markdown:
        print_markdown(place, needed)
        return
    quiet()
    with working("drawing the report"):
        from flows.report import render

        render(checked, workspace)
    print(place.reports / "index.html")


def print_markdown(place: Workspace, results: tuple[Path, Path, Path, Path]) -> None:
    """Print the results of a run as Markdown tables."""
    from avss_core.files.writing import read_json
    from tasks.report.markdown import markdown_tables, speed_table

    print(markdown_tables(*results))
    if place.times.is_file():
        print(f"\n{speed_table(read_json(place.times))}")


def compare_reports(
    names: tuple[str, str], *, seed: int, out: Path | None, as_markdown: bool, as_json: bool
) -> None:
    """Print two runs side by side, and write the page unless text or JSON alone is asked for."""
    quiet()
    with working("comparing the runs"):
        from tasks.compare.finding import find_run
        from tasks.compare.runs import compare_runs
        from tasks.compare.verdicts import MARKS, verdicts
        from tasks.compare.views import markdown, plain_rows, write_page
    if as_markdown and as_json:
        raise ValueError("--markdown and --json exclude each other: give one of them")
    first, second = (find_run(name, ROOT) for name in names)
    comparison = compare_runs(first, second, seed)
    page = out or (None if as_markdown or as_json else PAGE)
    if page is not None:
        write_page(comparison, page)
        print(f"The comparison is {page}", file=sys.stderr)
    if as_markdown:
        print(markdown(comparison))
        return
    said = [asdict(verdict) for verdict in verdicts(comparison)]
    if not as_json:
        for verdict in said:
            lines = [f"{MARKS[verdict['tone']]}: {verdict['text']}", *verdict["details"]]
            print("\n    ".join(lines), file=sys.stderr)
    record = {**comparison, "verdicts": said}
    show(record, plain_rows(comparison), title=f"A: {names[0]}, B: {names[1]}", as_json=as_json)
