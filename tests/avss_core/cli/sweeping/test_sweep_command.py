"""`avss sweep`: its table, its files, its answers, and what it refuses."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.avss_core.cli.calls import SETTINGS

SWEEP = (*SETTINGS, "--set", "score.cost_tokens=256", "--set", "score.repair_tokens=128")
FEW = ("--scores", "avss,last_n", "--remove", "1,2,0.5")


@pytest.fixture
def swept(avss, model, text):
    """A sweep, in the folder `sweep`."""
    return avss("sweep", model, "--data", text, *SWEEP, *FEW, "--json").json


def test_sweep_prints_what_it_measured_and_leaves_it_in_a_folder(avss, swept, model, text):
    assert json.loads(Path(f"sweep-{model.name}/sweep.json").read_text()) == swept
    assert swept["answer"] is None
    curves = [(p["score"], p["model"], p["removed_layers"]) for p in swept["points"]]
    assert curves == [
        (score, kind, count)
        for score in ("avss", "last_n")
        for kind in ("pruned", "repaired")
        for count in (1, 2, 3)
    ]
    assert swept["tokens"] == {"scored": 512, "repaired": 128, "held_out": 255}
    printed = avss("sweep", model, "--data", text, *SWEEP, *FEW)
    rows = printed.rows
    assert [float(row["loss"]) for row in rows] == [point["loss"] for point in swept["points"]]
    assert [float(row["low"]) for row in rows] == [point["change"]["low"] for point in swept["points"]]
    assert {row["knee"] for row in rows} <= {"yes", "no"}
    assert f"dense loss {swept['dense']['nll']:.4f} on 255 held-out tokens" in printed.err


def test_a_second_run_loads_no_model(avss, swept, model, text, monkeypatch):
    from avss_core.models import loading

    monkeypatch.setattr(loading, "load_model", lambda *_, **__: pytest.fail("the model was loaded"))
    again = avss("sweep", model, "--data", text, *SWEEP, *FEW, "--json").json
    assert again == swept


def test_the_numbers_are_those_of_the_stage_score(swept, model, text):
    from avss_core.data.sources import load_text
    from avss_core.files.writing import write_json
    from avss_core.jobs.removal.costs import removal_cost
    from avss_core.jobs.removal.repaired_costs import repaired_cost

    documents, _ = load_text("path", text, (), text)
    write_json(Path("calibration.json"), documents["calibration"])
    held_out = {"skip": 512, "tokens": 256, "window": 64, "dtype": "float32", "device": "cpu"}
    fitted = {"repair_tokens": 128, "repair_window": 64, "batch_size": 4}
    for point in swept["points"][2:5]:
        by_hand = (
            removal_cost(model, Path("calibration.json"), point["removed"], **held_out)
            if point["model"] == "pruned"
            else repaired_cost(model, Path("calibration.json"), point["removed"], **fitted, **held_out)
        )
        assert point["loss"] == pytest.approx(by_hand["nll"], rel=1e-6)


def test_the_picture_shows_each_curve_and_is_the_same_each_time(avss, swept, model, text):
    drawn = Path(f"sweep-{model.name}/sweep.svg").read_text()
    words = " ".join(ElementTree.fromstring(drawn).itertext())
    for said in ("avss", "last_n", "dense model", "layers removed", "removed and repaired", "nats per token"):
        assert said in words
    avss("sweep", model, "--data", text, *SWEEP, *FEW)
    assert Path(f"sweep-{model.name}/sweep.svg").read_text() == drawn


def test_the_answer_to_a_loss_agrees_with_the_table(avss, swept, model, text):
    losses = sorted(point["loss"] for point in swept["points"])
    for limit in (losses[2], losses[-1]):
        printed = avss("sweep", model, "--data", text, *SWEEP, *FEW, "--max-loss", limit, "--json").json
        fits = [point for point in swept["points"] if point["loss"] <= limit]
        least = min(point["parameters"] for point in fits)
        best = min((p for p in fits if p["parameters"] == least), key=lambda point: point["loss"])
        assert printed["answer"] == best
        assert printed["points"] == swept["points"]
    said = avss("sweep", model, "--data", text, *SWEEP, *FEW, "--max-loss", losses[-1]).err
    layers = ",".join(map(str, best["removed"]))
    assert f"answer: {best['score']} without" in said
    assert f"avss prune {model} --layers {layers} --out DIR" in said


def test_a_size_is_answered_by_the_fewest_layers(avss, swept, model, text):
    each = (
        swept["parameters"] - swept["points"][0]["parameters"],
        swept["bytes"] - swept["points"][0]["bytes"],
    )
    for option, limit in (("--target-params", swept["parameters"] - 4 * each[0]),
                          ("--target-bytes", swept["bytes"] - 3 * each[1] - 1)):  # fmt: skip
        printed = avss("sweep", model, "--data", text, *SWEEP, *FEW, option, limit, "--json").json
        assert printed["answer"]["removed_layers"] == 4  # which --remove does not name
        at_four = [point for point in printed["points"] if point["removed_layers"] == 4]
        assert printed["answer"]["loss"] == min(point["loss"] for point in at_four)


def test_without_an_answer_the_table_stays_and_the_nearest_is_named(avss, swept, model, text):
    printed = avss("sweep", model, "--data", text, *SWEEP, *FEW, "--max-loss", "0.01")
    best = min(swept["points"], key=lambda point: point["loss"])
    assert printed.code == 1
    assert printed.out == ""
    assert f"no choice has a loss of at most 0.01; the nearest is {best['score']}" in printed.err
    assert json.loads(Path(f"sweep-{model.name}/sweep.json").read_text())["points"] == swept["points"]


def test_without_repair_and_with_questions(avss, model, data):
    arguments = (
        "--data",
        data,
        *SWEEP,
        "--scores",
        "last_n",
        "--remove",
        "1",
        "--no-repair",
        "--questions",
        "2",
    )
    printed = avss("sweep", model, *arguments, "--json").json
    assert {point["model"] for point in printed["points"]} == {"pruned"}
    assert 1 <= len(printed["dense"]["preferred"]) <= 4
    assert printed["points"][0]["preferred_change"]["value"] is not None


def test_left_to_itself_it_compares_four_scores_at_ten_depths_at_most(avss, model, text):
    printed = avss("sweep", model, "--data", text, *SWEEP, "--no-repair", "--json").json
    assert list(printed["scores"]) == ["avss", "block_influence", "angular", "relative_magnitude"]
    assert sorted({point["removed_layers"] for point in printed["points"]}) == [1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--remove", "6"), "cannot remove 6 of 6 layers: expected a whole number from 1 to 5, or a share"),
        (("--remove", "nan"), "cannot remove nan of 6 layers"),
        (("--remove", "2,x"), "--remove '2,x': expected numbers of layers or shares separated by commas"),
        (("--scores", "avs"), "unknown score 'avs': did you mean avss"),
        (("--max-loss", "nan"), "the target of loss is nan: expected a finite number above 0"),
        (("--target-params", "0"), "the target of parameters is 0.0: expected a finite number above 0"),
        (("--set", "collect.tokens=100000"), "no token left behind the 100000 that were scored"),
        (("--set", "prune.protect_first=3", "--remove", "4"), "expected a whole number from 1 to 3"),
    ],
)
def test_what_cannot_be_is_refused(avss, model, text, arguments, said):
    printed = avss("sweep", model, "--data", text, *SWEEP, *arguments)
    assert printed.code == 1
    assert said in printed.err


def test_one_layer_and_an_encoder_are_refused(refused, tiny, tokenizer, text, tmp_path):
    tiny("llama", layers=1).save_pretrained(tmp_path / "one")
    tokenizer.save_pretrained(tmp_path / "one")
    tiny("bert").save_pretrained(tmp_path / "encoder")
    assert "the model has 1 layer" in refused("sweep", tmp_path / "one", "--data", text)
    assert re.search(
        "avss sweep needs a model that .* bert is an encoder", refused("sweep", tmp_path / "encoder")
    )


def test_a_file_in_the_place_of_the_folder_is_refused(refused, model, text):
    Path("taken").touch()
    assert "--out taken: taken is a file" in refused("sweep", model, "--data", text, "--out", "taken")


def test_a_sweep_is_recorded_if_asked(avss, model, text):
    from mlflow import MlflowClient

    from avss_core.settings.places import ROOT as HOME

    less = ("--scores", "last_n", "--remove", "1", "--no-repair", "--track")
    printed = avss("sweep", model, "--data", text, *SWEEP, *less, "--json").json
    client = MlflowClient(f"sqlite:///{HOME / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("avss").experiment_id
    parent = client.search_runs([experiment], "tags.`avss.stage` = 'sweep'", max_results=1)[0]
    assert parent.data.params["model"] == str(model)
    (child,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert child.data.metrics["loss"] == printed["points"][0]["loss"]


def test_without_the_pipeline_a_sweep_cannot_be_recorded(refused, model, text, monkeypatch):
    from avss_core.cli import pipeline

    monkeypatch.setattr(pipeline, "REPOSITORY", None)
    said = refused("sweep", model, "--data", text, "--track")
    assert said.startswith(
        "avss sweep --track belongs to the pipeline, which is not installed here: run `make"
    )
