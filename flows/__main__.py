"""Run one stage in the repository: `python -m flows STAGE`, as each stage of dvc.yaml does."""

import gc
import importlib
import sys

from avss_core.cli.errors import quiet, readable_errors, whole_output
from avss_core.display.steps import stage_shown
from flows import PROJECT

STAGE_NAMES = (
    "prepare",
    "collect",
    "score",
    "prune",
    "repair",
    "speed",
    "evaluate",
    "heal",
    "localize",
    "mitigate",
    "report",
    "gate",
)


def main(arguments: list[str]) -> None:
    """Run the named stage with the repository's parameters.

    Raises:
        ValueError: there is no such stage, or a parameter is wrong.
    """
    if len(arguments) != 1 or arguments[0] not in STAGE_NAMES:
        raise ValueError(f"usage: python -m flows STAGE, with STAGE one of {', '.join(STAGE_NAMES)}")
    quiet()
    name = arguments[0]
    with stage_shown(name, STAGE_NAMES.index(name) + 1, len(STAGE_NAMES)) as shown:
        shown.switched_off = _run(name)


def _run(name: str) -> str:
    """Import a stage and run it; return the parameter that switches it off, or an empty text."""
    # Imported modules stay; searching them for garbage would take a fifth of the start.
    gc.disable()
    from avss_core.settings.reading import load_params

    params = load_params(PROJECT / "params.yaml")
    # Only the stage's own module: importing all stages takes longer.
    module = importlib.import_module(f"flows.{name}")
    gc.freeze()
    gc.enable()
    from flows.running.server import kept_server

    with kept_server():
        return str(getattr(module, name)(params, PROJECT))


if __name__ == "__main__":
    with readable_errors(), whole_output():
        main(sys.argv[1:])
