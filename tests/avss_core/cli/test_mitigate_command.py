"""`avss mitigate` as a person meets it: what it prints, where, and what it leaves behind."""

import json
from pathlib import Path

import pytest

from avss_core.cli.mitigate_command import change_rows
from tests.avss_core.cli.calls import SETTINGS


def test_mitigate_trains_the_most_prone_layers(avss, model, data):
    prone = avss("localize", model, "--data", data, "--sets", "nq", "--json", *SETTINGS).json
    printed = avss("mitigate", model, "--data", data, "--sets", "nq", "--out", "t", "--json", *SETTINGS)
    result = printed.json
    assert result["training"]["layers"] == sorted(prone["most_prone"][:2])
    assert result["difference"]["nq"]["n"] == result["before"]["sets"]["nq"]["n"] == 6
    assert result["before"] != result["after"]
    assert avss("verify", "t", "--json").json["passed"] is True


def test_mitigate_numbers_layers_as_the_checkpoint_does(avss, pruned, data):
    rows = avss(
        "mitigate", pruned, "--data", data, "--sets", "nq", "--layers", "1,3", "--out", "t", *SETTINGS
    )
    assert "t: layers [1, 3] trained" in rows.err
    assert {row["figure"] for row in rows.rows} >= {"accuracy", "ece", "brier"}
    certificate = json.loads(Path("t/certificate.json").read_text())
    assert certificate["layer_map"] == [0, 2, 3, 5]
    changed = certificate["tensors"].keys() - certificate["source_tensors"].keys()
    assert {int(name.split(".")[2]) for name in changed} == {1, 3}


def test_mitigate_goes_on_where_it_was_stopped(avss, model, data, monkeypatch):
    from avss_core.jobs.prone import checkpoint_mitigation

    def stopped(*_arguments, **_options):
        raise KeyboardInterrupt

    command = ["mitigate", model, "--data", data, "--sets", "nq", "--layers", "2", "--out", "t", *SETTINGS]
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_mitigation, "write_certified", stopped)
        printed = avss(*command)
    assert printed.code == 130
    assert "interrupted; run the same command again to go on" in printed.err
    assert [path.name for path in Path().iterdir()] == [".t.training"]
    printed = avss(*command)
    assert "mitigate: goes on where it was stopped\n" in printed.err
    assert "t: layers [2] trained" in printed.err
    assert [path.name for path in Path().iterdir()] == ["t"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [("1,9", "layer 9 does not exist: the model has layers 0 to 5"), ("1,1", "a layer is named twice")],
)
def test_mitigate_refuses_layers_before_any_training(refused, model, data, layers, message):
    printed = refused("mitigate", model, "--data", data, "--layers", layers, "--out", "t", *SETTINGS)
    assert message in printed


def test_a_change_stands_beside_what_changed():
    figures = {"accuracy": {"value": 0.5}}
    printed = {
        "before": {"sets": {"nq": figures}},
        "after": {"sets": {"nq": {"accuracy": {"value": 0.75}}}},
        "difference": {
            "nq": {"n": 4, "accuracy": {"value": 0.25, "low": 0.0, "high": 0.5}, "retention": 1.5}
        },
    }
    row = {"set": "nq", "figure": "accuracy", "before": 0.5, "after": 0.75, "change": 0.25, "low": 0.0}
    assert change_rows(printed) == [{**row, "high": 0.5}]
