"""`avss mitigate` as a person meets it: what it prints, where, and what it leaves behind."""

import json
from pathlib import Path

import pytest

from avss_core.cli.mitigate_command import change_rows
from tests.avss_core.cli.calls import SETTINGS
from tests.launches import launched


def test_mitigate_trains_the_most_prone_layers(avss, model, data):
    prone = avss("localize", model, "--data", data, "--sets", "nq", "--json", *SETTINGS).json
    printed = avss("mitigate", model, "--data", data, "--sets", "nq", "--out", "t", "--json", *SETTINGS)
    result = printed.json
    assert result["training"]["layers"] == sorted(prone["most_prone"][:2])
    assert result["difference"]["nq"]["n"] == result["before"]["sets"]["nq"]["n"] == 6
    assert result["before"] != result["after"]
    assert avss("verify", "t", "--json").json["passed"] is True


def test_confidence_and_other_text_are_trained_on_if_asked(avss, model, data):
    command = ["mitigate", model, "--data", data, "--sets", "nq", "--layers", "2", "--json", *SETTINGS]
    weights = [
        part for name in ("brier=2", "anchor=1", "known=0.5") for part in ("--set", f"mitigate.{name}")
    ]
    plain, more = (
        avss(*command, "--out", out, *options).json["training"]
        for out, options in (("plain", []), ("more", weights))
    )
    assert plain["known"] is None
    assert 0 <= more["known"] <= 1
    terms = [set(each["history"][0]["validation_terms"]) for each in (plain, more)]
    assert terms[1] - terms[0] == {"brier", "anchor"}
    assert 0 < more["history"][0]["validation_terms"]["anchor"] < 1


def test_two_processes_mitigate_as_one_does(avss, model, data):
    command = ["mitigate", model, "--data", data, "--sets", "nq", "--json", *SETTINGS]
    command += ["--set", "mitigate.accumulate=2", "--set", "mitigate.batch_size=2"]
    command += ["--set", "model.device=cpu"]
    Path("shared").mkdir()
    alone = avss(*command, "--out", "t").json
    done = launched(2, "-m", "avss_core.cli.app", *command, "--out", "t", cwd="shared")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("\n") == done.stderr.count("mitigate: about ") == 1
    shared = json.loads(done.stdout)
    assert shared["before"] == alone["before"]
    assert shared["training"]["layers"] == alone["training"]["layers"]
    for kind, loss in (("steps", "loss"), ("history", "validation_loss")):
        losses = [[each[loss] for each in result["training"][kind]] for result in (shared, alone)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    nll = [result["after"]["language_modelling"]["nll"] for result in (shared, alone)]
    assert nll[0] == pytest.approx(nll[1], abs=1e-3)
    assert shared["after"] != shared["before"]
    assert [path.name for path in Path("shared").iterdir()] == ["t"]
    assert sorted(path.name for path in Path("shared/t").iterdir()) == sorted(
        path.name for path in Path("t").iterdir()
    )
    assert avss("verify", "shared/t", "--json").json["passed"] is True


def test_more_processes_than_a_step_has_batches_cost_no_evaluation(avss, model, data, monkeypatch):
    from avss_core.training import processes

    class Three(processes.Processes):
        def __init__(self, *, cpu):
            super().__init__(cpu=cpu)
            self.count = 3

    monkeypatch.setattr(processes, "Processes", Three)
    printed = avss("mitigate", model, "--data", data, "--sets", "nq", "--out", "t", *SETTINGS)
    assert printed.code == 1
    assert "3 processes share the batches of a step, and a step has 1: set accumulate to 3" in printed.err
    assert "evaluation" not in printed.err


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
