"""What stands in a run once a stage has told of itself, read back through MLflow and from the database."""

import json
import math
import sqlite3

import pytest
from mlflow import MlflowClient

from avss_core.data.lineage import DataPart
from avss_core.files.digests import digest_json, digest_path
from avss_core.files.writing import write_text
from tasks.history.curves import curves
from tasks.history.logged_models import pointer
from tasks.history.stage_log import StageLog
from tasks.history.tracking import PIPELINE_VARIABLE, pipeline_run, stage_run


@pytest.fixture(autouse=True)
def _no_pipeline(monkeypatch):
    for name in (PIPELINE_VARIABLE, "MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def logged(tmp_path):
    """Log one stage of a pipeline; return client, its run, the pipeline's, and the artifacts."""

    def call(log=None, params=None, inside=lambda: None):
        home = tmp_path / "home"
        with pipeline_run(home), stage_run(home, "report", params or {}, "digest") as write:
            inside()
            write(log or StageLog())
        client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("avss")
        runs = {run.data.tags["avss.stage"]: run for run in client.search_runs([experiment.experiment_id])}
        artifacts = home / "mlartifacts" / runs["report"].info.run_id / "artifacts"
        return client, runs["report"], runs["pipeline"], artifacts

    return call


def _stored(tmp_path):
    with sqlite3.connect(tmp_path / "home" / "mlflow.db") as database:
        return database.execute("select key, value, is_nan from metrics").fetchall()


def test_what_is_no_number_is_never_stored_as_one(logged, tmp_path):
    bad = {"above": math.inf, "below": -math.inf, "nan": math.nan}

    def curve():
        with curves("heal") as points:
            points.add({"loss": 2.0, "kl": 1.0}, 1)
            points.add({"loss": math.nan, "kl": math.inf}, 2)

    log = StageLog(metrics={"good": 1.5, "none": None, **bad}, layers={"line": [0.5, *bad.values(), None]})
    _, run, parent, _ = logged(log, inside=curve)
    stored = _stored(tmp_path)
    assert {key for key, _, _ in stored} == {"good", "line", "heal.loss", "heal.kl"}
    assert all(not is_nan and abs(value) < 10 for _, value, is_nan in stored)
    for each in (run, parent):
        assert all(each.data.tags[f"not_a_number.{name}"] == "true" for name in ("none", "line", *bad))
        assert "not_a_number.good" not in each.data.tags
    assert run.data.tags["not_a_number.heal.loss"] == run.data.tags["not_a_number.heal.kl"] == "true"


def test_a_value_of_each_layer_has_the_layer_as_its_step(logged):
    client, run, parent, _ = logged(StageLog(layers={"score.avss": [3.0, None, 1.0]}))
    for each in (run, parent):
        history = client.get_metric_history(each.info.run_id, "score.avss")
        assert sorted((point.step, point.value) for point in history) == [(0, 3.0), (2, 1.0)]


def test_a_note_and_its_picture_open_the_run_of_the_pipeline(logged, tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "a-secret-value")
    picture = tmp_path / "overview.svg"
    write_text(picture, "<svg/>")
    log = StageLog(note="7 layers went.\na-secret-value", files=[picture], pictures=[picture])
    client, run, parent, _ = logged(log)
    # The tag that MLflow's page shows as the description of a run.
    assert parent.data.tags["mlflow.note.content"] == "7 layers went.\n***"
    assert "mlflow.note.content" not in run.data.tags
    for each in (run, parent):
        found = client.list_artifacts(each.info.run_id, "figures")
        assert [file.path for file in found] == ["figures/overview.svg"]


def test_a_stage_without_a_note_leaves_that_of_the_pipeline(logged):
    _, _, parent, _ = logged(StageLog())
    assert "mlflow.note.content" not in parent.data.tags


def test_a_csv_file_is_a_table_that_the_ui_shows(logged, tmp_path):
    path = tmp_path / "scores.csv"
    write_text(path, "series,layer,score\navss,0,0.30000000000000004\navss,1,\n")
    client, run, _, artifacts = logged(StageLog(files=[path]))
    # The format of mlflow.log_table, and the tag by which the UI knows a table.
    assert json.loads((artifacts / "tables/scores.json").read_text()) == {
        "columns": ["series", "layer", "score"],
        "data": [["avss", 0, pytest.approx(0.3)], ["avss", 1, None]],
    }
    assert {"path": "tables/scores.json", "type": "table"} in json.loads(
        client.get_run(run.info.run_id).data.tags["mlflow.loggedArtifacts"]
    )


def test_a_record_is_json_with_sorted_keys_and_without_nan(logged):
    _, _, _, artifacts = logged(StageLog(tables={"summary.json": {"b": 1, "a": None}}))
    text = (artifacts / "summary.json").read_text()
    assert json.loads(text) == {"a": None, "b": 1}
    assert text.index('"a"') < text.index('"b"')
    with pytest.raises(ValueError, match="not JSON compliant"):
        logged(StageLog(tables={"summary.json": {"a": math.nan}}))


def test_a_checkpoint_is_a_pointer_and_its_weights_stay_where_they_are(logged, tmp_path):
    folder = tmp_path / "pruned"
    folder.mkdir()
    (folder / "model-1.safetensors").write_bytes(b"abc")
    (folder / "model-2.safetensors").write_bytes(b"de")
    (folder / "config.json").write_text("{}")
    digest = digest_json({path.name: digest_path(path) for path in sorted(folder.glob("*.safetensors"))})
    _, run, parent, artifacts = logged(StageLog(checkpoints={"pruned": folder}))
    for each in (run, parent):
        tags = each.data.tags
        assert tags["checkpoint.pruned.path"] == str(folder)
        assert tags["checkpoint.pruned.digest"] == digest
        assert tags["checkpoint.pruned.bytes"] == "5"
    (row,) = json.loads((artifacts / "tables/checkpoints.json").read_text())["data"]
    assert row == ["pruned", str(folder), digest, 5]
    assert [path.name for path in artifacts.rglob("*") if path.is_file()] == ["checkpoints.json"]


def test_a_checkpoint_that_was_not_made_has_no_digest(tmp_path):
    found = pointer("healed", tmp_path / "data", tmp_path)
    assert (found["path"], found["digest"], found["bytes"]) == ("data", "none", 0)


def test_data_are_inputs_of_the_run_and_of_its_pipeline(logged):
    parts = [
        DataPart("nq/train", "train", "a" * 64, "data/prepared/nq/train.jsonl", 42, "sample"),
        DataPart("nq/test", "test", "b" * 64, "data/prepared/nq/test.jsonl", 80, "sample"),
    ]
    _, run, parent, _ = logged(StageLog(data=parts))
    for each in (run, parent):
        found = {entry.dataset.name: entry for entry in each.inputs.dataset_inputs}
        assert set(found) == {"nq/train", "nq/test"}
        entry = found["nq/test"]
        assert entry.dataset.digest == "b" * 36
        assert json.loads(entry.dataset.profile) == {"num_rows": 80}
        assert json.loads(entry.dataset.source) == {"origin": "sample", "uri": "data/prepared/nq/test.jsonl"}
        assert {tag.key: tag.value for tag in entry.tags} == {"mlflow.data.context": "test"}


def test_more_parameters_and_tags_than_one_request_takes_are_all_there(logged):
    params = {f"section.key_{n}": n for n in range(205)}
    tags = {f"tag_{n}": "x" for n in range(205)}
    _, run, parent, _ = logged(StageLog(tags=tags), params)
    for each in (run, parent):
        assert each.data.params == {key: str(value) for key, value in params.items()}
        assert tags.items() <= each.data.tags.items()
