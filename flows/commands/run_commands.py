"""`avss run` and `avss report`: the whole pipeline in a folder of its own, and its page."""

from pathlib import Path
from typing import Annotated

import typer

from flows import ROOT
from flows.commands.arguments import refuse_absent, refuse_file
from flows.commands.options import DEFAULT_PARAMS, ParamsFile, Set, Verbose
from flows.running.errors import quiet
from flows.running.session import at_work, loading

app = typer.Typer()


@app.command(rich_help_panel="Whole runs")
def run(
    output: Annotated[Path, typer.Option(help="Folder for all results.")],
    changes: Set = None,
    params: ParamsFile = DEFAULT_PARAMS,
    verbose: Verbose = False,
) -> None:
    """Run the whole pipeline with changed settings, into a folder of its own.

    Finished units come from the same cache as those of `make repro`, and
    the run stands in the same MLflow history. DVC is not involved.

    Prints where the report is; all files are in --output, also params.yaml,
    the settings of the run.

    Example: avss run --set prune.ratio=0.4 --output runs/forty

    Example: avss run --params runs/forty/params.yaml --set seed=1 --output runs/again
    """
    refuse_file(output, "--output")
    quiet(verbose)
    with loading():
        from flows.settings.reading import load_params

        checked = load_params(params, changes)
        refuse_absent(checked)
        from flows.pipeline import pipeline
        from flows.running.server import kept_server

    # Its stages say how far it is.
    with kept_server():
        pipeline(checked, output)
    print(f"The report is {output / 'reports' / 'index.html'}")


@app.command(rich_help_panel="Whole runs")
def report(
    workspace: Annotated[
        Path,
        typer.Option(
            help="The folder of `avss run --output`, or the repository.", show_default="the repository"
        ),
    ] = ROOT,
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
    from flows.running.workspace import Workspace
    from flows.settings.reading import load_params

    place = Workspace(workspace)
    own = place.settings if place.settings.is_file() else DEFAULT_PARAMS
    checked = load_params(params or own, changes)
    if compare is not None:
        with at_work("comparing the runs", verbose=False):
            from flows.commands.compare_command import compare_reports
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
        from avss_core.files.writing import read_json
        from tasks.report.tables import markdown_tables, speed_table

        print(markdown_tables(*needed))
        if place.times.is_file():
            print(f"\n{speed_table(read_json(place.times))}")
        return
    from flows.report import render

    with at_work("drawing the report", verbose=False):
        render(checked, workspace)
    print(place.reports / "index.html")
