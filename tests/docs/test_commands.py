"""Every command of the pages: its tool knows it, something runs it, and what is shown is what it prints."""

import ast
import doctest
import math
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import NoReturn
from unittest import mock

import pytest

from tests.vocabularies import SIZE, byte_pairs

ROOT = Path(__file__).resolve().parents[2]

COMMANDS, CORE = "tests/flows/commands", "tests/avss_core/cli"

RUN_BY = {
    "accelerate launch": (
        "tests/avss_core/training/test_processes.py::test_two_processes_train_what_one_trains"
    ),
    "avss cache ls": f"{COMMANDS}/test_cache_command.py::test_ls_in_json_is_exact",
    "avss cache rm": f"{COMMANDS}/test_cache_command.py::test_rm_removes_what_is_asked_for",
    "avss cache verify": (f"{COMMANDS}/test_cache_command.py::test_verify_names_what_is_broken_and_fails"),
    "avss deploy": "tests/flows/test_deployments.py::test_a_second_deploy_changes_nothing",
    "avss evaluate": (
        f"{CORE}/evaluating/test_evaluate_command.py::test_evaluate_has_every_set_that_is_asked_for"
    ),
    "avss export": (
        f"{CORE}/shipping/test_export_command.py::test_export_writes_a_file_that_is_the_checkpoint"
    ),
    "avss heal": f"{CORE}/test_heal_command.py::test_heal_says_what_it_takes_and_writes_what_it_promises",
    "avss localize": f"{CORE}/test_localize_command.py::test_localize_ranks_the_layers",
    "avss mitigate": f"{CORE}/test_mitigate_command.py::test_mitigate_trains_the_most_prone_layers",
    "avss prune": f"{CORE}/test_prune_command.py::test_prune_by_ratio_removes_what_score_names",
    "avss push": (
        f"{CORE}/shipping/test_push_command.py::test_without_yes_it_shows_what_would_go_and_sends_nothing"
    ),
    "avss repair": (
        f"{CORE}/test_repair_command.py::test_repair_says_what_it_refitted_and_writes_what_it_promises"
    ),
    "avss report": f"{COMMANDS}/test_report_command.py::test_it_renders_a_workspace_again",
    "avss run": f"{COMMANDS}/test_run_command.py::test_settings_and_folder_reach_the_pipeline",
    "avss score": f"{CORE}/test_score_command.py::test_json_has_a_row_for_each_layer_in_depth_order",
    "avss settings": f"{CORE}/test_settings_command.py::test_it_prints_a_file_for_params",
    "avss speed": f"{CORE}/test_speed_command.py::test_speed_compares_the_others_with_the_first",
    "avss sweep": (
        f"{CORE}/sweeping/test_sweep_command.py::test_sweep_prints_what_it_measured_and_leaves_it_in_a_folder"
    ),
    "avss verify": f"{CORE}/test_verify_command.py::test_verify_passes_what_was_written",
    "avss worker": "tests/flows/test_deployments.py::test_triggered_runs_take_turns_and_leave_their_verdict",
    "dask": "tests/flows/running/test_execution.py::test_an_address_where_nobody_answers_is_named",
    "dvc exp": "tests/flows/test_experiments.py::test_in_a_copy_history_and_units_stay_in_the_repository",
    "dvc metrics diff": "tests/flows/test_remotes.py::test_metrics_tell_what_changed_between_two_commits",
    "dvc plots diff": "tests/flows/test_remotes.py::test_a_plot_compares_two_commits",
    "dvc plots show": "tests/flows/test_remotes.py::test_every_plot_is_drawn",
    "dvc": "tests/flows/test_remotes.py::test_a_fresh_clone_pulls_everything_and_runs_nothing",
    "git": "tests/flows/test_remotes.py::test_a_fresh_clone_pulls_everything_and_runs_nothing",
    "make docs": ".ci/run",
    "make repro": "tests/benchmarks/test_faults.py::test_two_rows_on_a_pipeline_of_one_stage",
    "make test": ".ci/run",
    "make": "tests/docs/test_commands.py::test_a_session_prints_what_the_page_shows",
    "mlflow server": "tests/tasks/history/test_run_store.py::test_the_ui_listens_on_loopback_alone",
    "prefect": "tests/flows/test_deployments.py::test_a_second_deploy_changes_nothing",
    # Minutes to hours: the script is what measures, and prints the table that stands on the page.
    "python benchmarks/": "by hand",
    "python docs/notebook.py": "tests/docs/test_notebook.py::test_the_notebook_is_that_of_the_page",
    "python -m benchmarks.faults": "by hand",
    "python -m benchmarks.single_layers": "by hand",
    "pip": "Makefile",
    "llama-quantize": "benchmarks/serving.py",
    "llama-server": "benchmarks/serving.py",
    "ollama": "nothing, as the page says",
    "python3 -m sglang.launch_server": "nothing, as the page says",
    "vllm": "benchmarks/serving.py",
    **dict.fromkeys(("awk", "cd", "export", "grep", "ls", "python -c", "rm", "sort", "tail"), "the shell"),
}
"""Start of a command -> what runs it: a test, a file that calls it, or a reason why nothing does."""


@cache
def _settings(changes: tuple[str, ...]) -> None:
    from avss_core.settings.reading import load_params

    load_params(ROOT / "params.yaml", list(changes))


def _avss(arguments: list[str], whole: bool) -> None:
    from typer.main import get_command

    from avss_core.cli.app import made

    _clicked(get_command(made()), arguments, whole)
    _settings(tuple(word for option, word in pairwise(arguments) if option == "--set"))


def _clicked(command: object, arguments: list[str], whole: bool) -> None:
    """Parse as click does; running text may leave out what is required."""
    while commands := getattr(command, "commands", None):
        own = {option for parameter in command.params for option in parameter.opts}  # type: ignore[attr-defined]
        if not arguments or (not whole and arguments[0] in {"COMMAND", "--help", *own}):
            return
        command, arguments = commands[arguments[0]], arguments[1:]
    if whole:
        command.make_context(command.name, list(arguments))  # type: ignore[attr-defined]
        return
    known = {
        option
        for parameter in command.params  # type: ignore[attr-defined]
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    unknown = {word.partition("=")[0] for word in arguments if word.startswith("--")} - known
    assert not unknown, f"no such option: {unknown}"


def _dask(arguments: list[str], whole: bool) -> None:
    from distributed.cli import dask_scheduler, dask_worker

    _clicked({"scheduler": dask_scheduler, "worker": dask_worker}[arguments[0]].main, arguments[1:], whole)


def _dvc(arguments: list[str], whole: bool) -> None:
    from dvc.cli.parser import DvcParser, get_main_parser

    def refuse(_parser: DvcParser, message: str, *_more: object) -> NoReturn:
        raise ValueError(message)

    with mock.patch.object(DvcParser, "error", refuse), _unless(whole, "are required"):
        get_main_parser().parse_args(arguments)


@contextmanager
def _unless(whole: bool, allowed: str) -> Iterator[None]:
    """Let an error pass that says what running text may leave out."""
    try:
        yield
    except ValueError as error:
        if whole or allowed not in str(error):
            raise


def _make(arguments: list[str], whole: bool) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {word for word in arguments if "=" not in word} <= set(targets)
    variables = {word.partition("=")[0] for word in arguments if "=" in word}
    assert variables <= {"ARGS", "PORT", "PYTHON"}


def _accelerate(arguments: list[str], whole: bool) -> None:
    from accelerate.commands.launch import launch_command_parser

    command, *rest = arguments
    started = launch_command_parser().parse_args(rest)
    assert (command, started.module, started.training_script) == ("launch", True, "avss_core.cli.app")
    _avss(started.training_script_args, whole)


def _mlflow(arguments: list[str], whole: bool) -> None:
    from mlflow.cli import cli

    _clicked(cli, arguments, whole)


def _pip(arguments: list[str], whole: bool) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    assert set(re.findall(r"\[([\w-]+)\]", " ".join(arguments))) <= set(extras)


def _prefect(arguments: list[str], whole: bool) -> None:
    from prefect.cli._app import _app  # its commands; what the package itself exports only runs them

    if whole:
        _app.parse_args(arguments, exit_on_error=False, print_error=False)
        return
    named = _app
    for word in arguments:
        if word.startswith("-") or word not in named:
            break
        named = named[word]
    assert named is not _app


def _python(arguments: list[str], whole: bool) -> None:
    if arguments[0] == "-c":
        compile(arguments[1], "-c", "exec")
        return
    place = ROOT / arguments[0]
    if arguments[0] == "-m":
        place = ROOT / arguments[1].replace(".", "/") / "__main__.py"
    script = place.read_text(encoding="utf-8")
    assert {word for word in arguments if word.startswith("--")} <= set(re.findall(r'"(--[a-z-]+)"', script))


def _shell_knows(_arguments: list[str], _whole: bool) -> None:
    """Take what every system has as it is."""


TOOLS: dict[str, Callable[[list[str], bool], None]] = {
    "accelerate": _accelerate, "avss": _avss, "dask": _dask, "dvc": _dvc, "make": _make,
    "mlflow": _mlflow, "pip": _pip, "prefect": _prefect, "python": _python,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of what the tools import
def test_every_tool_knows_the_commands_and_options_that_the_pages_give_it(commands, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pytest"])  # dvc reads options of its own from it
    wrong = {}
    for command in dict.fromkeys(commands):
        tool, *arguments = (word for word in command.words if word != "&")
        try:
            TOOLS.get(tool, _shell_knows)(arguments, command.whole)
        except Exception as error:  # each tool has errors of its own
            wrong[command.where] = f"{type(error).__name__}: {error}"
    assert wrong == {}


def test_something_runs_every_command(commands):
    bare = {command.where for command in commands if command.whole and not _runs(command.words)}
    assert bare == set()
    unused = [
        start for start in RUN_BY if not any(" ".join(each.words).startswith(start) for each in commands)
    ]
    assert unused == []


def _runs(words: tuple[str, ...]) -> str | None:
    text = " ".join(words)
    starts = [
        start for start in RUN_BY if f"{text} ".startswith(start if start.endswith("/") else f"{start} ")
    ]
    return RUN_BY[max(starts, key=len)] if starts else None


@pytest.mark.parametrize("what", sorted(set(RUN_BY.values())))
def test_what_runs_them_is_there(what):
    file, _, name = what.partition("::")
    if name:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    elif "/" in file or file == "Makefile":
        calls = (ROOT / file).read_text(encoding="utf-8")
        assert all(start.removeprefix("pip") in calls for start, by in RUN_BY.items() if by == what)


@pytest.mark.parametrize("name", ["docs/own_model.md", "docs/serve.md", "docs/start.md"])
def test_a_session_prints_what_the_page_shows(name, pages, avss, tiny):
    tiny("llama", vocab_size=SIZE).save_pretrained("my-model")
    byte_pairs().save_pretrained("my-model")
    for session in pages[name].blocks("console"):
        for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
            line, _, shown = part.partition("\n")
            printed = avss(*shlex.split(line)[1:]) if line.startswith("avss ") else _shell(line)
            # As in a doctest, "..." stands for anything.
            same = doctest.OutputChecker().check_output(shown, printed, doctest.ELLIPSIS)
            assert same, f"$ {line}\n{printed}"
    for code in pages[name].blocks("python"):
        exec(compile(code, name, "exec"), {})


def _shell(line: str) -> str:
    return subprocess.run(
        [*shlex.split(line), "-C", str(ROOT), "--no-print-directory"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.fixture
def avss(monkeypatch, capsys, tmp_path):
    """Run a command in this process; return what a terminal shows."""
    from tqdm import tqdm
    from transformers import modeling_gguf_pytorch_utils
    from transformers.utils.logging import disable_progress_bar

    from avss_core.cli.app import main
    from avss_core.display import lines as progress_lines
    from avss_core.surgery import certificate

    monkeypatch.setattr(progress_lines, "QUIET", math.inf)
    monkeypatch.setattr(certificate, "inspect_afresh", certificate.inspect_with_logits)
    disable_progress_bar()
    # As TQDM_DISABLE does in a process that imports `flows` first.
    monkeypatch.setattr(modeling_gguf_pytorch_utils, "tqdm", partial(tqdm, disable=True))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["avss", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main()
        found = capsys.readouterr()
        return found.err + found.out

    return call
