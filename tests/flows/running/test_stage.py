"""A stage as a process of its own: what its history says once it was terminated."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import sys, time
from pathlib import Path

from avss_core.settings.reading import load_params
from flows.running.stage import stage
from tasks.history.stage_log import StageLog


@stage("heal", ("seed",))
def body(params, workspace):
    print("started", flush=True)
    time.sleep(600)
    return StageLog()


body(load_params(Path("params.yaml")), Path(sys.argv[1]))
"""


def test_right_after_sigterm_the_run_of_a_flow_is_killed(prefect_harness, tmp_path):
    home = tmp_path / "home"
    environment = {
        **os.environ,
        "PREFECT_API_URL": prefect_harness,
        "AVSS_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "workspace")]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "started\n", process.stderr.read()
        process.send_signal(signal.SIGTERM)
        assert " INFO mlflow" not in process.communicate()[1]
        assert process.returncode not in (0, -signal.SIGKILL)
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("avss").experiment_id])
    assert {run.data.tags["avss.stage"]: run.info.status for run in runs} == {
        "pipeline": "KILLED",
        "heal": "KILLED",
    }
