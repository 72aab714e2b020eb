"""`avss settings`: every setting as a command would read it, or the schema of the file."""

import json
from typing import Annotated

import typer

from avss_core.cli.options import ParamsFile, Set
from avss_core.cli.session import loading
from avss_core.settings.places import DEFAULT_PARAMS


def settings(
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of the file instead, for an editor.")
    ] = False,
    changes: Set = None,
    params: ParamsFile = DEFAULT_PARAMS,
) -> None:
    """Print every setting with its value: the file's, else the default; older names as today's.

    The output is a file for --params. A file needs no more than the settings
    that differ from the defaults.

    Prints YAML, or with --schema JSON, and writes nothing.

    Example: avss settings --set prune.ratio=0.4 > forty.yaml
    """
    with loading():
        from avss_core.settings.editor_schema import editor_schema
        from avss_core.settings.reading import load_params, params_text

    text = params_text(load_params(params, changes))
    print(json.dumps(editor_schema(), indent=1) if schema else text.rstrip("\n"))
