"""A sweep in a real history."""

import pytest
from mlflow import MlflowClient

from tasks.history.sweep_runs import record_sweep


def _point(score, count, kind, loss, preferred=None):
    change = {"value": loss - 3.0, "low": loss - 3.25, "high": loss - 2.75}
    return {"score": score, "removed_layers": count, "removed": list(range(count)), "model": kind,
            "loss": loss, "change": change, "parameters": 100 - 10 * count, "bytes": 400 - 40 * count,
            "preferred": preferred, "preferred_change": None, "knee": count == 2}  # fmt: skip


SWEEP = {
    "model": "checkpoints/tiny", "text": "the sample", "out": "sweep", "layers": 6, "parameters": 100,
    "bytes": 400, "dense": {"nll": 3.0, "tokens": 255, "window_means": [3.0]},
    "tokens": {"scored": 512, "repaired": 128, "held_out": 255}, "scores": {"avss": [1.0], "last_n": [2.0]},
    "points": [
        _point(score, count, kind, 3.0 + count + (0.25 if kind == "pruned" else 0), 0.5)
        for score in ("avss", "last_n") for kind in ("pruned", "repaired") for count in (1, 2)
    ],
    "left_out": "", "answer": _point("avss", 1, "repaired", 4.0),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Client, parent and children of a recorded sweep."""
    home = tmp_path_factory.mktemp("home")
    for name in ("sweep.svg", "sweep.json"):
        (home / name).write_text("{}", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        record_sweep(home, home, SWEEP, home)
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("avss").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`avss.stage` = 'sweep'")
    return (
        client,
        parent,
        client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"),
    )


def test_each_point_is_a_run_below_the_sweep(runs):
    _, parent, children = runs
    assert parent.info.run_name == "sweep tiny"
    assert len(children) == len(SWEEP["points"])
    by_name = {child.info.run_name: child for child in children}
    for point in SWEEP["points"]:
        child = by_name[f"{point['score']} {point['removed_layers']} {point['model']}"]
        assert child.data.params == {
            key: str(point[key]) for key in ("score", "removed_layers", "removed", "model")
        }
        assert child.data.metrics == {
            "loss": point["loss"],
            "over_dense.value": point["change"]["value"],
            "over_dense.low": point["change"]["low"],
            "over_dense.high": point["change"]["high"],
            "parameters": point["parameters"],
            "bytes": point["bytes"],
            "preferred": 0.5,
        }
        assert child.data.tags["knee"] == ("true" if point["removed_layers"] == 2 else "false")
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}


def test_the_parent_has_the_curves_the_files_and_the_answer(runs):
    client, parent, _ = runs
    line = client.get_metric_history(parent.info.run_id, "loss.avss.repaired")
    assert sorted((point.step, point.value) for point in line) == [(1, 4.0), (2, 5.0)]
    assert parent.data.metrics["dense.loss"] == 3.0
    assert parent.data.params["scores"] == "avss,last_n"
    assert parent.data.params["tokens.held_out"] == "255"
    assert parent.data.tags["answer"] == "avss 1 repaired"
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"sweep.svg", "sweep.json"}
