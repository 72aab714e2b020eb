"""Where runs are kept: a server as `make ui` starts it, a database elsewhere, a server that is not there."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from tasks.history import run_store
from tasks.history.stage_log import StageLog
from tasks.history.tracking import PIPELINE_VARIABLE, pipeline_run, stage_run

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _no_pipeline(monkeypatch, tmp_path):
    for name in (PIPELINE_VARIABLE, "MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "working").mkdir()
    monkeypatch.chdir(tmp_path / "working")


@pytest.fixture(scope="module")
def ui(tmp_path_factory):
    """The process that `make ui` runs, on a database of its own, and its address."""
    folder = tmp_path_factory.mktemp("ui")
    (folder / "mlflow.db").touch()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "ui", f"PORT={port}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (line,) = [line for line in said.splitlines() if "mlflow ui" in line]
    command = [sys.executable, "-m", "mlflow", *shlex.split(line)[1:]]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, server, folder / "log")
        yield server, address
    finally:
        family = [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]
        for process in family:
            process.terminate()
        psutil.wait_procs(family, timeout=20)
        server.wait()


def _wait(address, server, log):
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
        except OSError:
            time.sleep(0.3)
        else:
            return
    pytest.fail(log.read_text())


def _log(home, metrics):
    figure = home / "scores.png"
    figure.parent.mkdir(parents=True, exist_ok=True)
    figure.write_bytes(b"png")
    with pipeline_run(home), stage_run(home, "score", {"seed": 0}, "digest") as log:
        log(StageLog(metrics=metrics, files=[figure]))


def test_the_ui_listens_on_loopback_alone(ui):
    server, _ = ui
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    listening = {
        connection.laddr.ip
        for process in family
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_a_taken_port_comes_with_the_name_of_the_variable(tmp_path):
    (tmp_path / "mlflow.db").touch()
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    for name in ("python", "mlflow"):
        (tmp_path / "venv" / "bin" / name).symlink_to(sys.executable)
    (tmp_path / "installed").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                *("make", "-C", str(tmp_path), "-f", str(ROOT / "Makefile"), "-o", "installed"),
                *("ui", f"PORT={port}", "VENV=venv", "INSTALLED=installed"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert f"Port {port} is taken, or none that you may use; name another one: make ui PORT=" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_keeps_runs_and_figures_and_nothing_is_left_here(ui, tmp_path, monkeypatch):
    _, address = ui
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    home = tmp_path / "home"
    _log(home, {"nll": 1.5, "bad": float("nan")})
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("avss")
    runs = {run.data.tags["avss.stage"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"pipeline", "score"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert runs["score"].data.tags["mlflow.parentRunId"] == runs["pipeline"].info.run_id
    assert runs["score"].data.metrics == runs["pipeline"].data.metrics == {"nll": 1.5}
    assert [found.path for found in client.list_artifacts(runs["score"].info.run_id, "figures")] == [
        "figures/scores.png"
    ]
    assert sorted(path.name for path in home.iterdir()) == [".mlflow.lock", "scores.png"]
    assert list(Path.cwd().iterdir()) == []


def test_a_server_keeps_models_and_the_champion(ui, tmp_path, monkeypatch):
    _, address = ui
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    home = tmp_path / "home"
    (home / "healed").mkdir(parents=True)
    (home / "healed" / "model.safetensors").write_bytes(b"abc")
    with pipeline_run(home), stage_run(home, "gate", {}, "digest") as log:
        log(StageLog({"healed.nq.accuracy": 0.5}, measured={"healed": home / "healed"}, champion="tiny"))
    client = MlflowClient(address)
    version = client.get_model_version_by_alias("avss-tiny", "champion")
    (model,) = client.search_logged_models([client.get_experiment_by_name("avss").experiment_id])
    assert version.source == model.artifact_location
    assert (version.tags["path"], model.tags["digest"]) == ("healed", version.tags["digest"])
    assert [(point.key, point.value) for point in model.metrics] == [("healed.nq.accuracy", 0.5)]


def test_a_database_elsewhere_keeps_runs_and_the_home_keeps_figures(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    _log(tmp_path / "home", {"nll": 1.5})
    assert (tmp_path / "elsewhere.db").is_file()
    assert not (tmp_path / "home" / "mlflow.db").exists()
    assert list((tmp_path / "home" / "mlartifacts").rglob("figures/scores.png"))
    assert list(Path.cwd().iterdir()) == []  # and no mlruns


def test_a_server_that_is_not_there_is_named_before_any_work(tmp_path, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # taken, and nobody listens
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        said = rf"answers at MLFLOW_TRACKING_URI={address}.*start it, or unset"
        with pytest.raises(ConnectionError, match=said), stage_run(tmp_path, "score", {}, "digest"):
            pytest.fail("the stage began")


def test_a_server_that_says_nothing_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(run_store, "WAIT_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ConnectionError, match="timed out"), stage_run(tmp_path, "score", {}, "digest"):
            pytest.fail("the stage began")


@pytest.mark.parametrize("address", ["./mlruns", "file:history", "databricks", "uc:x", "nonsense://x"])
def test_what_is_neither_a_server_nor_a_database_is_refused_with_the_cure(tmp_path, monkeypatch, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    said = f"^MLFLOW_TRACKING_URI={address}: .*a server .* or in a database .*unset the variable"
    with pytest.raises(ValueError, match=said):
        run_store.check_store(tmp_path)


def test_a_database_without_its_driver_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mysql+nonsense://user:word-of-user@host/history")
    with pytest.raises(
        ConnectionError, match=r"history at MLFLOW_TRACKING_URI=.* cannot be opened \(.*unset"
    ):
        run_store.check_store(tmp_path)


def test_an_experiment_that_was_deleted_is_told_with_the_command_that_brings_it_back(tmp_path):
    client, experiment = run_store.open_store(tmp_path)
    client.delete_experiment(experiment)
    with pytest.raises(ValueError, match="was deleted in MLflow; bring it back: ") as refused:
        run_store.check_store(tmp_path)
    variable, *command = str(refused.value).partition("back: ")[2].split()
    name, _, value = variable.partition("=")
    subprocess.run([sys.executable, "-m", *command], env=os.environ | {name: value}, check=True)
    assert run_store.open_store(tmp_path)[1] == experiment


def test_a_check_makes_no_history(tmp_path):
    run_store.check_store(tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("address", ["", "sqlite:///moved/mlflow.db"])
def test_artifacts_move_along_with_the_folder(tmp_path, monkeypatch, address):
    home, moved = tmp_path / "home", tmp_path / "working" / "moved"
    _log(home, {"nll": 1.5})
    home.rename(moved)
    # `make ui` shows the artifacts where they are now, before any stage has run.
    (ready,) = re.findall(
        r"\$\(VENV\)/bin/python -c \"(from .*check_store.*)\"", (ROOT / "Makefile").read_text()
    )
    subprocess.run(
        [sys.executable, "-c", ready], cwd=moved, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True
    )
    (seen,) = MlflowClient(f"sqlite:///{moved / 'mlflow.db'}").search_runs(
        ["1"], "tags.`avss.stage` = 'score'"
    )
    assert seen.info.artifact_uri.startswith((moved / "mlartifacts").as_uri())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    _log(moved, {"nll": 2.5})
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert not home.exists()
    client, experiment = run_store.open_store(moved)
    runs = client.search_runs([experiment], "tags.`avss.stage` = 'score'")
    assert len(runs) == 2
    for run in runs:
        assert client.list_artifacts(run.info.run_id, "figures")
        assert run.info.artifact_uri.startswith((moved / "mlartifacts").as_uri())
    assert len(list((moved / "mlartifacts").rglob("figures/scores.png"))) == 2


def test_a_place_that_the_user_chose_for_artifacts_stays(tmp_path):
    chosen = (tmp_path / "disk").as_uri()
    other = MlflowClient(f"sqlite:///{tmp_path / 'working' / 'mlflow.db'}")
    other.create_experiment("avss", artifact_location=chosen)
    client, experiment = run_store.open_store(tmp_path / "working")
    assert client.get_experiment(experiment).artifact_location == chosen
