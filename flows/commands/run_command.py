"""`avss run`: the whole pipeline, in a folder of its own."""

from pathlib import Path
from typing import Annotated

import typer

from avss_core.cli.errors import quiet
from avss_core.cli.options import ParamsFile, Set, Verbose, refuse_absent, refuse_file
from avss_core.cli.session import loading
from avss_core.settings.places import DEFAULT_PARAMS
from flows import ROOT


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
        from avss_core.settings.reading import load_params

        checked = load_params(params, changes)
        refuse_absent(checked)
        from flows.pipeline import pipeline
        from flows.running.server import kept_server
        from tasks.history.run_store import check_store

        check_store(ROOT)
    # No bar of its own: each stage shows how far it is.
    with kept_server():
        pipeline(checked, output)
    print(f"The report is {output / 'reports' / 'index.html'}")
