"""Experiments of DVC, in place, in a copy and from the queue: settings are the copy's, history is not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from tests.flows.dvc_projects import Project

ROOT = Path(__file__).resolve().parents[2]

CORE = (
    "__init__.py",
    "__init__.pyi",
    *(f"settings/{name}.py" for name in ("__init__", "environment", "places")),
)
"""What says in the core where things are."""

QUICK = {
    "data.sets": ["nq"],
    "collect.tokens": 256,
    "collect.set_tokens": 64,
    "collect.window": 64,
    "collect.answers": 8,
    "collect.parts": 2,
    "collect.sites": ["update"],
    "score.compare": ["avss", "last_n"],
    "score.cost_tokens": 128,
    "score.repair_tokens": 0,
    "score.resamples": 4,
    "evaluate.window": 64,
}


def places(folder, **variables):
    """Return where a process finds its project and its home that imports `flows` in a folder."""
    environment = {name: value for name, value in os.environ.items() if name != "AVSS_HOME"} | variables
    show = "import flows, json; print(json.dumps([str(flows.PROJECT), str(flows.ROOT)]))"
    done = subprocess.run(
        [sys.executable, "-c", show], cwd=folder, env=environment | {"PYTHONPATH": ""},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [Path(place) for place in json.loads(done.stdout)]


@pytest.fixture
def copy_at(tmp_path):
    """A function that puts `flows`, its places and an empty `dvc.yaml` into a folder below a repository."""

    def make(place):
        folder = (tmp_path / place).resolve()
        for name in ("flows/__init__.py", *(f"avss_core/{name}" for name in CORE)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        (folder / "dvc.yaml").touch()
        return folder

    return make


@pytest.mark.parametrize("kind", ["tmpa1", "standalone/tmpa1"])
def test_the_copy_of_an_experiment_has_its_own_settings_and_the_home_of_the_repository(
    kind, copy_at, tmp_path
):
    folder = copy_at(f"repository/.dvc/tmp/exps/{kind}")
    assert places(folder) == [folder, (tmp_path / "repository").resolve()]


def test_avss_home_moves_caches_and_history_alone(copy_at, tmp_path):
    folder = copy_at("repository")
    assert places(folder) == [folder, folder]
    assert places(folder, AVSS_HOME=str(tmp_path / "home")) == [folder, (tmp_path / "home").resolve()]
    inside = copy_at("repository/.dvc/tmp/exps/tmpa1")
    assert places(inside, AVSS_HOME=str(tmp_path / "home")) == [inside, (tmp_path / "home").resolve()]


@pytest.fixture(scope="module")
def project(tiny, tokenizer, prefect_harness, tmp_path_factory):
    """A repository whose model was prepared and measured, so that a ratio reruns the stage `score` alone."""
    from avss_core.settings.reading import load_params
    from flows.collect import collect
    from flows.prepare import prepare
    from flows.score import score

    model = tmp_path_factory.mktemp("model")
    tiny("llama", max_position_embeddings=1024).save_pretrained(model)
    tokenizer.save_pretrained(model)
    project = Project(tmp_path_factory.mktemp("project") / "repository")
    project.fill()
    project.set(**{"model.name": str(model)}, **QUICK)
    # DVC applies an experiment only if it has what every stage writes.
    pipeline = YAML().load(project.root / "dvc.yaml")
    stages = {name: pipeline["stages"][name] for name in ("prepare", "collect", "score")}
    YAML().dump({"stages": stages}, project.root / "dvc.yaml")
    project.git("init", "--quiet")
    for name, value in (("user.name", "t"), ("user.email", "t@t")):
        project.git("config", name, value)
    params = load_params(project.root / "params.yaml")
    for stage in (prepare, collect, score):
        stage(params, project.root)
    project.dvc("commit", "--force", "--quiet", "prepare", "collect", "score")
    project.commit("a run")
    del project.environment["AVSS_HOME"]
    project.environment |= {
        "PREFECT_API_URL": prefect_harness,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONWARNINGS": "ignore",
    }
    for name in ("PREFECT_HOME", "PREFECT_LOCAL_STORAGE_PATH"):
        project.environment.pop(name, None)
    return project


def _ratios(home):
    """Return the ratio of each run of the stage `score` in a history, oldest first."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    runs = client.search_runs(
        [client.get_experiment_by_name("avss").experiment_id],
        "tags.`avss.stage` = 'score' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time ASC"],
    )
    return [run.data.params["prune.ratio"] for run in runs]


def _removed(project):
    return len(json.loads((project.root / "data/scores.json").read_text())["removed"])


@pytest.mark.slow
def test_in_place_the_stage_reads_and_writes_the_repository_wherever_home_is(project, tmp_path):
    project.dvc("exp", "run", "-S", "prune.ratio=0.34", "score", AVSS_HOME=str(tmp_path / "home"))
    assert _removed(project) == 2
    assert "ratio: 0.34" in (project.root / "params.yaml").read_text()
    assert _ratios(tmp_path / "home") == ["0.34"]
    assert any((tmp_path / "home/.prefect/storage").iterdir())
    left = {path.name for path in (tmp_path / "home").iterdir()}
    assert left <= {".prefect", ".mlflow.lock", "mlflow.db", "mlartifacts"}
    assert not (project.root / "mlflow.db").exists()
    project.git("checkout", "--quiet", "--", ".")
    project.dvc("checkout", "--force", "--quiet", "data/scores.json")


@pytest.mark.slow
@pytest.mark.parametrize(("how", "ratio", "count"), [("--temp", 0.5, 3), ("--queue", 0.67, 4)])
def test_in_a_copy_history_and_units_stay_in_the_repository(project, how, ratio, count):
    before = _removed(project), (project.root / "params.yaml").read_text()
    project.dvc("exp", "run", how, "-S", f"prune.ratio={ratio}", "--name", f"take{how}", "score")
    if how == "--queue":
        project.dvc("exp", "run", "--run-all")
    assert (_removed(project), (project.root / "params.yaml").read_text()) == before
    assert _ratios(project.root)[-1] == str(ratio)
    client = MlflowClient(f"sqlite:///{project.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("avss").experiment_id
    # The stage is not the pipeline's last one, and its parent ends all the same.
    assert client.search_runs([experiment], "attributes.status = 'RUNNING'") == []
    assert any((project.root / ".prefect/storage").iterdir())
    assert not list(project.root.glob(".dvc/tmp/exps/**/mlflow.db"))
    project.dvc("exp", "apply", f"take{how}")
    assert _removed(project) == count
    project.git("reset", "--quiet", "--hard")
    project.dvc("checkout", "--force", "--quiet", "data/scores.json")
