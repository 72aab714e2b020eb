"""The stage evaluate and `avss evaluate` give two models the same figures, changes and shares kept."""

import json
import sys

import pytest

from tests.avss_core.cli.calls import QUICK, ROOT, SETTINGS, write_rows, write_set, write_text


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    write_set(folder, "nq")
    write_text(folder)
    for part in ("train", "validation"):
        rows = [{"id": f"{part}-{i}", "text": f"film {i} is {i % 2}", "label": i % 2} for i in range(4)]
        write_rows(folder / "sst2" / f"{part}.jsonl", rows)
    return folder


def test_the_command_has_the_figures_of_the_stage(
    tiny, tokenizer, data, prefect_harness, tmp_path, monkeypatch, capsys
):
    from avss_core.cli.app import main
    from avss_core.jobs.preparation import prepare_model, prepare_rows
    from avss_core.settings.reading import load_params
    from flows.evaluate import evaluate
    from flows.running.workspace import Workspace

    for name, layers in (("dense", 4), ("pruned", 3)):
        tiny("llama", layers).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    settings = {
        **QUICK,
        "data.source": "path",
        "data.path": data,
        "data.sets": "[nq]",
        "evaluate.limit": 4,
        "repair.enabled": "false",
    }
    params = load_params(ROOT / "params.yaml", [f"{key}={value}" for key, value in settings.items()])
    workspace = Workspace(tmp_path / "workspace")
    prepare_rows(params, workspace.prepared)
    for name in ("dense", "pruned"):
        prepare_model(str(tmp_path / name), None, dtype="float32", folder=getattr(workspace, name))
    evaluate(params, workspace.root)
    stage = json.loads((workspace.evaluation / "figures.json").read_text(encoding="utf-8"))

    monkeypatch.chdir(tmp_path)
    command = ["avss", "evaluate", "dense", "pruned", "--data", "data", "--limit", "4", "--json", *SETTINGS]
    monkeypatch.setattr(sys, "argv", command)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main()
    dense, pruned = json.loads(capsys.readouterr().out)["models"]
    beside = pruned.pop("against_base")
    assert {"model": str(tmp_path / "dense"), **stage["dense"]} == dense
    assert {"model": str(tmp_path / "pruned"), **stage["pruned"]} == pruned
    assert beside["changes"]["nq"] == stage["pruned_against_dense"]["nq"]
    assert beside["retention"] == stage["retention"]
