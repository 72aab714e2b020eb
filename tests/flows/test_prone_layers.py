"""The commands localize and mitigate give one model on one data the numbers of the stages."""

import json

import pytest

from tests.avss_core.cli.calls import QUICK, ROOT, SETTINGS
from tests.avss_core.cli.conftest import avss, data

__all__ = ["avss", "data"]

OWN = {
    "collect.answers_from": "both",
    "collect.judge": "contains",
    "collect.samples": 2,
    "evaluate.abstain_at": 0.5,
}
OPTIONS = [*SETTINGS, *(part for key, value in OWN.items() for part in ("--set", f"{key}={value}")), "--json"]


@pytest.fixture(scope="module")
def stages(model, data, prefect_harness, tmp_path_factory):
    """What the stages wrote of a model that is trained as it is."""
    from avss_core.settings.reading import load_params
    from flows.pipeline import STAGES

    root = tmp_path_factory.mktemp("workspace")
    changes = QUICK | OWN | {
        "model.name": model, "data.source": "path", "data.path": data, "data.sets": "[nq]",
        "score.name": "last_n", "score.compare": "[last_n]", "repair.enabled": "false",
        "mitigate.base": "dense", "mitigate.controls": "[]",
    }  # fmt: skip
    params = load_params(ROOT / "params.yaml", [f"{key}={value}" for key, value in changes.items()])
    for name in ("prepare", "collect", "score", "prune", "evaluate", "localize", "mitigate"):
        STAGES[name](params, root)
    return root / "data"


@pytest.fixture(scope="module")
def model(tiny_llama, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_llama.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_localize_prints_what_the_stage_wrote(avss, stages, model, data):
    stage = json.loads((stages / "localization.json").read_text())
    printed = avss("localize", model, "--data", data, "--sets", "nq", *OPTIONS).json
    chosen = stage["readings"][stage["reading"]]
    assert [row["score"] for row in printed["layers"]] == chosen["values"]
    assert [(row["low"], row["high"]) for row in printed["layers"]] == list(
        zip(chosen["low"], chosen["high"], strict=True)
    )
    assert [row["probe_auroc"] for row in printed["layers"]] == stage["probe_auroc"]
    for key in ("answers", "questions", "pairs", "most_prone", "source_agreement"):
        assert printed[key] == stage[key], key


def test_mitigate_trains_and_measures_what_the_stage_does(avss, stages, model, data):
    stage = json.loads((stages / "mitigation" / "figures.json").read_text())
    printed = avss("mitigate", model, "--data", data, "--sets", "nq", "--out", "t", *OPTIONS).json
    assert printed["training"] == stage["training"]
    assert printed["after"] == stage["mitigated"]
    assert printed["difference"] == stage["mitigated_against_base"]


def test_the_stage_abstains_before_and_after_the_training_as_evaluate_does(avss, stages, model, data):
    stage = json.loads((stages / "mitigation" / "figures.json").read_text())["abstention"]
    assert list(stage) == ["dense", "mitigated"]
    asked = avss("evaluate", model, "--data", data, "--sets", "nq", "--abstain-at", 0.5, *OPTIONS).json
    assert asked["abstention"] == stage["dense"]
    for sets in stage.values():
        assert sets["nq"]["risk"] == 0.5
        assert 0 <= sets["nq"]["answered"]["value"] <= 1
