"""`avss push` as a person meets it, against a Hub on this machine."""

import json
from pathlib import Path

import pytest

# The Hub's library sends a file in a way that its own transport calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")

LICENSE = ("--license", "apache-2.0")


def test_without_yes_it_shows_what_would_go_and_sends_nothing(avss, pruned, local_hub):
    printed = avss(
        "push", pruned, "me/small", *LICENSE, "--base-model", "owner/base", "--dataset", "owner/data"
    )
    sizes = {row["file"]: int(row["bytes"]) for row in printed.rows}
    assert {
        "README.md",
        "certificate.json",
        "config.json",
        "llama-quantize.txt",
        "mergekit.yaml",
    } < sizes.keys()
    assert sizes["model.safetensors"] == (pruned / "model.safetensors").stat().st_size
    for line in (
        "license: apache-2.0",
        "base_model: owner/base",
        "base_model_relation: finetune",
        "- owner/data",
    ):
        assert f"{line}\n" in printed.err
    assert (
        f"dry run: {len(sizes)} files, 0.2 MB would go to me/small; add --yes to upload them" in printed.err
    )
    assert (local_hub.asked, local_hub.made) == ([], {})


def test_with_yes_the_checkpoint_is_there_and_holds_what_its_certificate_promises(avss, pruned, local_hub):
    printed = avss(
        "push", pruned, "me/small", *LICENSE, "--yes", "--private", "--revision", "small", "--json"
    )
    record = printed.json
    assert record["uploaded"] == f"{local_hub.address}/me/small/commit/{'d' * 40}"
    assert (record["verified"], local_hub.made, local_hub.branches) == (True, {"me/small": True}, ["small"])
    there = local_hub.folder / "me" / "small"
    assert {path.name for path in there.iterdir()} == {row["file"] for row in record["files"]}
    assert avss("verify", there, "--json").json["passed"] is True
    assert str(pruned.parent) not in "".join(path.read_text("utf-8") for path in there.glob("*.json"))


def test_figures_of_avss_evaluate_go_onto_the_card(avss, pruned, local_hub):
    figures = {
        "model": str(pruned),
        "sets": {
            "nq": {"n": 6, "judge": "f1", "shots": 1, "accuracy": {"value": 0.5, "low": 0.2, "high": 0.8}}
        },
        "language_modelling": {"tokens": 128, "token_perplexity": 9.0, "word_perplexity": 12.0},
        "sentiment": {"n": 4, "accuracy": {"value": 0.75, "low": 0.2, "high": 1.0}},
    }
    Path("figures.json").write_text(json.dumps(figures))
    card = avss("push", pruned, "me/small", *LICENSE, "--results", "figures.json", "--json").json["card"]
    assert "model-index:" in card
    assert "type: avss_nq" in card
    assert "| accuracy | 0.5 | 0.200 to 0.800 |" in card
    both = {"base": "dense", "models": [figures | {"model": "dense"}, figures]}
    Path("figures.json").write_text(json.dumps(both))
    again = avss("push", pruned, "me/small", *LICENSE, "--results", "figures.json", "--json").json["card"]
    assert again == card
    Path("figures.json").write_text(json.dumps(figures | {"model": "another"}))
    printed = avss("push", pruned, "me/small", *LICENSE, "--results", "figures.json")
    assert f"--results figures.json is of another, not of {pruned}" in printed.err


def test_what_was_tampered_with_is_not_uploaded(avss, pruned, local_hub):
    weights = bytearray((pruned / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (pruned / "model.safetensors").write_bytes(weights)
    printed = avss("push", pruned, "me/small", *LICENSE, "--yes", "--json")
    assert printed.code == 1
    assert (
        "does not hold what its certificate promises: stored tensors. Nothing was"
        in json.loads(printed.out)["error"]
    )
    assert (local_hub.asked, local_hub.made) == ([], {})


def test_a_licence_must_be_known(avss, pruned, local_hub):
    printed = avss("push", pruned, "me/small")
    assert printed.code == 1
    assert "is not known, and without one nobody may use the model: name it with --license" in printed.err


def test_a_checkpoint_without_a_certificate_is_said_to_be_unchecked(avss, model, local_hub):
    printed = avss("push", model, "me/small", *LICENSE)
    assert "has no certificate, so it was not checked" in printed.err
    assert avss("push", model, "me/small", *LICENSE, "--json").json["verified"] is False


def test_a_token_shows_nowhere(avss, pruned, local_hub, monkeypatch):
    token = f"hf_{'w' * 30}"
    monkeypatch.setenv("HF_TOKEN", token)
    printed = avss("push", pruned, "me/small", *LICENSE, "--yes", "--json")
    assert printed.code == 1
    message = json.loads(printed.out)["error"]
    assert "the Hub lets nothing be written to me/small (401): log in with" in message
    assert token not in printed.out + printed.err
