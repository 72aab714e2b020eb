"""The commands on an encoder: score, prune, repair, heal and evaluate take it, the others refuse it."""

import json

import pytest
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from avss_core.files.writing import write_json
from tests.avss_core.cli.calls import SETTINGS

pytestmark = pytest.mark.usefixtures("prefect_harness")

HEADS = {"words": AutoModelForMaskedLM, "classes": AutoModelForSequenceClassification, "body": AutoModel}


@pytest.fixture
def encoder(tiny, encoder_tokenizer, tmp_path):
    """A function that writes an encoder with a head, and returns its folder."""

    def write(kind, family="bert"):
        folder = tmp_path / f"{family}-{kind}"
        tiny(family, auto=HEADS[kind]).save_pretrained(folder)
        encoder_tokenizer.save_pretrained(folder)
        if kind == "body":  # as models of sentences are published
            config = json.loads((folder / "config.json").read_text())
            write_json(folder / "config.json", config | {"architectures": ["MPNetForMaskedLM"]})
        return folder

    return write


@pytest.mark.parametrize(
    ("family", "kind", "projection", "sets"),
    [
        ("distilbert", "words", "ffn.lin2", {"text", "sentiment"}),
        ("mpnet", "body", "output.dense", {"sentiment"}),
    ],
)
def test_an_encoder_goes_through_all_five_commands(avss, encoder, data, family, kind, projection, sets):
    model = encoder(kind, family)
    scored = avss("score", model, "--data", data, "--ratio", 0.34, "--json", *SETTINGS).json
    assert len(scored["layers"]) == 6
    removed = ",".join(map(str, scored["removed"]))
    avss("prune", model, "--layers", removed, "--out", "p", *SETTINGS)
    learnt = ["--teacher", model, "--data", data]
    repaired = avss("repair", "p", *learnt, "--out", "r", *SETTINGS)
    assert {row["projection"] for row in repaired.rows} == {projection}
    avss("heal", "r", *learnt, "--out", "h", *SETTINGS)
    printed = avss("evaluate", "h", "--data", data, *SETTINGS)
    assert "head for reviews: linear, fitted to " in printed.err
    assert {row["set"] for row in printed.rows} == sets


def test_the_head_of_the_checkpoint_classifies(avss, encoder, data):
    printed = avss("evaluate", encoder("classes"), "--data", data, "--limit", 4, "--json", *SETTINGS).json
    assert printed["head"] == "the checkpoint's own"
    assert printed["language_modelling"] is None
    assert printed["sentiment"]["n"] == 4


@pytest.mark.parametrize("command", ["localize", "mitigate", "speed"])
def test_what_needs_answers_is_refused_before_work(refused, encoder, data, command):
    given = {"localize": ["--data", data], "mitigate": ["--data", data, "--out", "m"], "speed": []}[command]
    printed = refused(command, encoder("words"), *given, *SETTINGS)
    assert f"avss {command} needs a model that writes answers, and bert is an encoder" in printed


def test_a_score_of_removals_is_refused_by_name(refused, encoder, data):
    printed = refused("score", encoder("words"), "--data", data, "--score", "traversal", *SETTINGS)
    assert "bert is an encoder: it predicts no next token" in printed
