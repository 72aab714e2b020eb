"""The command line as a whole."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from transformers import AutoModelForCausalLM

from tests.avss_core.cli.calls import COMMANDS, ROOT, Result


def test_help_teaches_and_is_quick(tmp_path):
    code = f"""
import sys
from avss_core.cli.app import main
for command in [[], *([name] for name in {COMMANDS})]:
    sys.argv = ["avss", *command, "--help"]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code
    print("=====")
heavy = {{"torch", "transformers", "prefect", "mlflow", "pandas", "datasets"}} & set(sys.modules)
assert not heavy, heavy
"""
    environment = {**os.environ, "AVSS_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    printed = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert (printed.returncode, printed.stderr) == (0, "")
    whole, *pages = printed.stdout.split("=====\n")[:-1]
    assert len(pages) == len(COMMANDS)
    for name, page in zip(COMMANDS, pages, strict=True):
        assert name in whole
        assert f"Usage: avss {name}" in page
        assert f"Example: avss {name}" in page
        assert "Prints " in page or name in ("report", "deploy", "worker")
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_its_own_prints_one_object_and_leaves_a_checkpoint(model, text, tmp_path):
    shutil.copytree(text, tmp_path / "text")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "AVSS_HOME": str(tmp_path / "a" / "home"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = (
        f"prune {model} --ratio 0.34 --score avss --data text --out out/pruned --json --set collect.window=64"
    )
    printed = subprocess.run(
        [sys.executable, "-m", "avss_core.cli.app", *command.split()],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path,
    )  # fmt: skip
    result = Result(printed.returncode, printed.stdout, printed.stderr)
    assert len(result.json["removed"]) == 2
    assert all(check["passed"] for check in result.json["checks"])
    # On a busy machine a line says how far it is; Prefect says nothing, and nothing is drawn.
    assert not re.search("INFO|WARNING|error|\x1b|\r", result.err)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out/pruned").config.num_hidden_layers == 4
    assert {path.name for path in tmp_path.iterdir()} == {"a", "out", "text"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"pruned"}


@pytest.mark.parametrize(
    "arguments",
    ["", "prun", "prune", "prune m", "score", "evaluate m --limit 0", "score m --ratio x", "verify", "run"],
)
def test_a_wrong_use_has_exit_code_two_and_nothing_on_stdout(avss, arguments):
    printed = avss(*arguments.split())
    assert printed.code == 2
    assert "Usage: avss" in printed.err + printed.out
    assert (printed.out == "") == bool(arguments)


def test_wrong_use_is_one_object_too(avss):
    printed = avss("evaluate", "m", "--limit", "0", "--json")
    assert printed.code == 2
    assert "'--limit'" in json.loads(printed.out)["error"]
    assert printed.out.count("\n") == 1
