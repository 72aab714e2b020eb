"""The library call, the command and the stage give one model on one text the same numbers."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RATIO, SEED, TOKENS, WINDOW, PARTS, RESAMPLES = 0.5, 3, 512, 64, 4, 20
SETTINGS = {
    "seed": SEED,
    "collect.tokens": TOKENS,
    "collect.window": WINDOW,
    "collect.parts": PARTS,
    "score.traversal_window": WINDOW // 2,
    "score.traversal_context": WINDOW // 2,
    "score.cost_tokens": 64,
    "score.resamples": RESAMPLES,
    "score.compare": "[avss, avss_authors, angular, random, traversal, greedy, greedy_repaired, "
    "repairability]",
    "prune.ratio": RATIO,
    "evaluate.window": 64,
}
SCORES = ("avss", "avss_authors", "random", "traversal", "greedy", "greedy_repaired", "repairability")


@pytest.fixture(scope="module")
def model(tiny_llama, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_llama.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    (folder / "wikitext2").mkdir()
    for part in ("valid", "test"):
        lines = "".join(f" Line {i} of the {part} part , and what it says . \n" for i in range(40))
        (folder / "wikitext2" / f"{part}.txt").write_text(f" \n = {part} = \n \n{lines}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def stage(model, data, prefect_harness, tmp_path_factory):
    """Return what the stage wrote, and the text that it scored on."""
    from avss_core.files.writing import write_json
    from avss_core.jobs.preparation import prepare_text, wanted
    from avss_core.jobs.text_collection import collect_texts
    from avss_core.settings.places import SAMPLE
    from avss_core.settings.reading import load_params
    from flows.running.execution import run_in
    from flows.running.workspace import Workspace
    from flows.score import score

    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    params = load_params(ROOT / "params.yaml", [f"{key}={value}" for key, value in SETTINGS.items()])
    origin = prepare_text("path", data, (), SAMPLE, wanted(params), folder=workspace.prepared)
    write_json(workspace.prepared / "manifest.json", {"origin": {"text": origin}})
    text = workspace.prepared / "text" / "calibration.json"
    write_json(workspace.statistics, collect_texts(params, model, {"text": (text, TOKENS)}, run_in(params)))
    workspace.dense.symlink_to(model, target_is_directory=True)
    score(params, workspace.root)
    return json.loads(workspace.scores.read_text()), json.loads(text.read_text())


@pytest.mark.parametrize("name", SCORES)
def test_library_command_and_stage_agree(
    name, stage, model, data, tiny_llama, tokenizer, monkeypatch, capsys, tmp_path
):
    from avss_core.cli.app import main
    from avss_core.scores.layer_scores import score_layers

    record, text = stage
    label = "random_0" if name == "random" else name
    reading, stability = record["readings"][label], record["stability"].get(label)

    scores = score_layers(
        tiny_llama, tokenizer, text, name, tokens=TOKENS, window=WINDOW, parts=PARTS, ratio=RATIO, seed=SEED
    )
    assert scores.values.tolist() == reading["scores"]
    assert scores.lowest(RATIO) == reading["removed"]
    assert list(scores.shot_noise) == reading["shot_noise"]
    if stability:
        sure = scores.stability(RATIO, resamples=RESAMPLES, seed=SEED)
        assert list(sure.frequency) == stability["frequency"]
        assert (sure.same, list(sure.undecided)) == (stability["same"], stability["undecided"])
        assert sure.interval == stability["interval"]

    monkeypatch.chdir(tmp_path)
    settings = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    command = ["avss", "score", str(model), "--data", str(data), "--score", name, "--json", *settings]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        main()
    printed = json.loads(capsys.readouterr().out)
    assert [row["score"] for row in printed["layers"]] == reading["scores"]
    assert [row["normalised"] for row in printed["layers"]] == reading["normalised"]
    assert printed["removed"] == reading["removed"]
    if stability:
        assert [row["frequency"] for row in printed["layers"]] == stability["frequency"]
        assert (printed["same_choice"], printed["undecided"]) == (stability["same"], stability["undecided"])
