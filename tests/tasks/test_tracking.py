import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tasks.tracking import PIPELINE_VARIABLE, StageLog, pipeline_run, stage_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _no_pipeline(monkeypatch):
    monkeypatch.delenv(PIPELINE_VARIABLE, raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)


def _runs(home):
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("avss")
    return {run.data.tags["avss.stage"]: run for run in client.search_runs([experiment.experiment_id])}


def test_stages_are_children_of_one_parent_with_params_metrics_and_figures(tmp_path):
    figure = tmp_path / "scores.png"
    figure.write_bytes(b"png")
    with pipeline_run(tmp_path):
        for stage in ("score", "report"):
            with stage_run(tmp_path, stage, {"seed": 0}, "digest") as log:
                log(StageLog(metrics={"nll": 1.5, "bad": float("inf"), "none": None}, files=[figure]))
    runs = _runs(tmp_path)
    assert set(runs) == {"pipeline", "score", "report"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for stage in ("score", "report"):
        run = runs[stage]
        assert run.data.tags["mlflow.parentRunId"] == runs["pipeline"].info.run_id
        assert run.data.params == {"seed": "0"}
        assert run.data.metrics == {"nll": 1.5}
        assert run.data.tags["not_a_number.bad"] == "true"
        assert run.data.tags["avss.parameters"] == "digest"
        assert run.data.tags["git.commit"]
    assert runs["pipeline"].data.metrics == {"nll": 1.5}
    assert (tmp_path / "mlartifacts" / runs["score"].info.run_id / "artifacts/figures/scores.png").is_file()


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("bad row"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "KILLED")],
)
def test_an_error_ends_the_run_and_its_parent(tmp_path, error, status):
    with pytest.raises(type(error)), stage_run(tmp_path, "prune", {}, "digest"):
        raise error
    assert {run.info.status for run in _runs(tmp_path).values()} == {status}


def test_a_pipeline_without_a_stage_leaves_no_run(tmp_path):
    with pipeline_run(tmp_path):
        pass
    assert not (tmp_path / "mlflow.db").exists()


def test_runs_of_a_killed_process_are_ended_by_the_next(tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path; from tasks.tracking import stage_run\n"
        "with stage_run(Path(sys.argv[1]), 'evaluate', {}, 'd'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)]
    killed = subprocess.run(command, cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert _runs(tmp_path)["evaluate"].info.status == "RUNNING"
    with stage_run(tmp_path, "report", {}, "digest"):
        pass
    assert _runs(tmp_path)["evaluate"].info.status == "KILLED"
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    ids = [client.get_experiment_by_name("avss").experiment_id]
    assert client.search_runs(ids, "attributes.status = 'RUNNING'") == []


def test_four_processes_start_on_a_fresh_database(tmp_path):
    script = (
        "import sys; from pathlib import Path; from tasks.tracking import StageLog, stage_run\n"
        "with stage_run(Path(sys.argv[1]), sys.argv[2], {}, 'd') as log: log(StageLog(metrics={'x': 1}))"
    )

    def start(number):
        command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path), f"stage{number}"]
        return subprocess.run(
            command, cwd=ROOT, env={**os.environ, PIPELINE_VARIABLE: "p"}, check=False
        ).returncode

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(4))) == [0, 0, 0, 0]
    runs = _runs(tmp_path)
    assert {f"stage{number}" for number in range(4)} <= set(runs)
    assert not (ROOT / "mlruns").exists()


def test_a_damaged_history_is_named_with_what_to_do(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    said = r"mlflow\.db, the history of experiments, is damaged: put a copy of it .* or move it away"
    with pytest.raises(OSError, match=said), stage_run(tmp_path, "prune", {}, "digest"):
        pass
