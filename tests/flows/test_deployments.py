"""Scheduled runs, from prefect.yaml to the artifact, at a Prefect server of their own."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]

QUICK = {
    "data.sets": "[sciq]",
    "collect.tokens": 256,
    "collect.set_tokens": 64,
    "collect.window": 64,
    "collect.answers": 4,
    "collect.parts": 4,
    "score.compare": "[avss]",
    "score.cost_tokens": 64,
    "score.resamples": 20,
    "evaluate.window": 64,
}
RETRIES = {"retries": 1, "backoff_seconds": 0.1}


@pytest.fixture(scope="module")
def server():
    """The address of a server that schedules nothing by itself, so that no run is due by the clock."""
    from flows.running.server import prefect_server

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        patch.setenv("PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED", "false")
        patch.setenv("PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS", "3600")
        with prefect_server() as address:
            yield address


@pytest.fixture(scope="module")
def client(server):
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: server}), get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="module")
def home(client, tiny, tokenizer, tmp_path_factory):
    """A copy of the project with parameters, a tiny model, and the scores that the stages found for it."""
    from avss_core.settings.reading import load_params
    from flows.collect import collect
    from flows.prepare import prepare
    from flows.score import score

    home = tmp_path_factory.mktemp("home")
    for name in ("avss_core", "tasks", "flows", "data/sample"):
        shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "prefect.yaml"):
        shutil.copy(ROOT / name, home)
    model = home / "model"
    tiny("llama", max_position_embeddings=1024).save_pretrained(model)
    tokenizer.save_pretrained(model)
    changes = [f"model.name={model}", *(f"{key}={value}" for key, value in QUICK.items())]
    params = load_params(ROOT / "params.yaml", changes)
    (home / "params.yaml").write_text(json.dumps(params.model_dump(mode="json")), encoding="utf-8")
    for stage in (prepare, collect, score):
        stage(params, home)
    return home


@pytest.fixture(scope="module")
def avss(server, home):
    """A function that runs the command line in a process of its own."""

    def run(*arguments):
        environment = {
            **os.environ,
            "AVSS_HOME": str(home),
            "PYTHONPATH": str(home),
            "PREFECT_API_URL": server,
        }
        # Each process of a run finds its own home, as a worker's does.
        for name in ("PREFECT_HOME", "PREFECT_LOCAL_STORAGE_PATH"):
            environment.pop(name, None)
        command = [sys.executable, "-m", "avss_core.cli.app", *arguments]
        return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def deployed(avss, client):
    """What `avss deploy` printed, and the deployment of the drift check."""
    done = avss("deploy", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["deployments"], client.read_deployment_by_name("drift/drift")


def _logs(client, run):
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    return client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])), limit=200)


def test_the_schedules_and_limits_of_the_file_are_those_on_the_server(deployed, client):
    rows, drift = deployed
    assert {row["deployment"]: row["schedule"] for row in rows} == {
        "nightly/nightly": "0 2 * * *",
        "drift/drift": "30 * * * *",
    }
    (schedule,) = drift.schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone, schedule.active) == (
        "30 * * * *",
        "UTC",
        True,
    )
    assert drift.concurrency_options.collision_strategy == "CANCEL_NEW"
    pool = client.read_work_pool("avss")
    assert (pool.type, pool.concurrency_limit) == ("process", 1)
    assert str(ROOT) not in drift.model_dump_json()  # another worker has another folder


def test_a_second_deploy_changes_nothing(deployed, avss, client):
    assert avss("deploy", "--name", "drift", "--json").returncode == 0
    again = client.read_deployment_by_name("drift/drift")
    assert again.id == deployed[1].id
    assert len(again.schedules) == 1


@pytest.mark.slow
def test_triggered_runs_take_turns_and_leave_their_verdict(deployed, avss, client):
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

    runs = [client.create_flow_run_from_deployment(deployed[1].id, parameters=RETRIES) for _ in range(2)]
    done = avss("worker", "--once")
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = sorted((client.read_flow_run(run.id) for run in runs), key=lambda run: run.start_time)
    assert (first.state_name, second.state_name) == ("Completed", "Completed")
    assert second.start_time >= first.end_time
    for key, text in (("avss-drift", "steady; the same layers go"), ("avss-drift-layers", '"now"')):
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[first.id])
            )
        )
        assert [artifact.key for artifact in artifacts] == [key]
        assert text in artifacts[0].data
    assert any("steady; the same layers go" in log.message for log in _logs(client, first))


@pytest.mark.slow
def test_a_run_that_fails_is_tried_again_and_says_why(deployed, avss, client, home):
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    run = client.create_flow_run_from_deployment(deployed[1].id, parameters=RETRIES)
    shutil.move(home / "model", home / "elsewhere")
    try:
        done = avss("worker", "--once")
    finally:
        shutil.move(home / "elsewhere", home / "model")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: 1 of 1 runs failed: ")
    run = client.read_flow_run(run.id)
    assert run.state_name == "Failed"
    said = [log.message for log in _logs(client, run)]
    assert any(f"{home / 'model'} is not a checkpoint folder" in line for line in said)
    assert any("Retry 1/1 will start 0.1 second(s) from now" in line for line in said)
    tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
    assert [(task.run_count, task.state_name) for task in tasks] == [(2, "Failed")]


def test_a_run_that_is_due_while_one_runs_is_cancelled(deployed, client):
    from prefect.states import Cancelled, Pending

    runs = [client.create_flow_run_from_deployment(deployed[1].id, parameters=RETRIES) for _ in range(2)]
    states = [client.set_flow_run_state(run.id, Pending()).state for run in runs]
    client.set_flow_run_state(runs[0].id, Cancelled(), force=True)
    assert [state.name for state in states] == ["Pending", "Cancelled"]
    assert "concurrency limit" in states[1].message


@pytest.fixture
def main(monkeypatch, capsys):
    """A function that runs the command line here, and returns exit code and errors."""
    from avss_core.cli.app import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["avss", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("command", ["deploy", "worker"])
@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (None, "PREFECT_API_URL is not set"),
        ("http://127.0.0.1:9/api", "http://127.0.0.1:9/api does not answer"),
    ],
)
def test_without_a_server_there_is_a_way_to_one_and_nothing_else(main, monkeypatch, command, address, reason):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with temporary_settings(
        {PREFECT_API_URL: address} if address else {}, restore_defaults={PREFECT_API_URL}
    ):
        code, said = main(command)
    assert code == 1
    assert reason in said
    assert "prefect server start --host 127.0.0.1" in said
    assert "export PREFECT_API_URL=" in said
    assert "Traceback" not in said


def test_an_unknown_deployment_is_named_with_the_known_ones(main):
    code, said = main("deploy", "--dry-run", "--name", "hourly")
    assert (code, said) == (1, "error: prefect.yaml has no deployment 'hourly': known: nightly, drift\n")


def test_a_dry_run_needs_no_server(capsys):
    from avss_core.cli.app import made

    with pytest.raises(SystemExit) as stop:
        made()(["deploy", "--dry-run", "--json"])
    assert stop.value.code == 0
    rows = json.loads(capsys.readouterr().out)["deployments"]
    assert [(row["name"], row["timezone"], row["at_a_time"]) for row in rows] == [
        ("nightly", "UTC", 1), ("drift", "UTC", 1),
    ]  # fmt: skip


def test_the_file_names_flows_with_their_parameters_and_no_folder_of_a_machine():
    from flows import deployments

    for entry in YAML(typ="safe").load(ROOT / "prefect.yaml")["deployments"]:
        module, _, name = entry["entrypoint"].rpartition(".")
        assert module == deployments.__name__
        flow = getattr(deployments, name)
        assert flow.name == entry["name"] == name
        assert set(entry["parameters"]) == set(flow.parameters.properties)
        flow.validate_parameters(entry["parameters"])


def test_the_automation_of_the_documentation_is_one():
    from prefect.events.schemas.automations import AutomationCore

    text = (ROOT / "docs/deployments.md").read_text(encoding="utf-8")
    example = YAML(typ="safe").load(text.partition("```yaml\n")[2].partition("```")[0])
    automation = AutomationCore.model_validate(example)
    assert automation.trigger.expect == {"prefect.flow-run.Drifted", "prefect.flow-run.Failed"}


@pytest.fixture
def record(home, tmp_path, monkeypatch):
    """A function that runs the drift check here, against a record that was changed."""
    from flows import deployments

    def run(change):
        (tmp_path / "data").mkdir()
        shutil.copy(home / "params.yaml", tmp_path)
        scores = json.loads((home / "data/scores.json").read_text(encoding="utf-8"))
        own = scores["readings"]["avss"]
        fresh = {
            "score": "avss",
            "removed": own["removed"],
            "layers": [{"score": score} for score in own["scores"]],
        }
        (tmp_path / "fresh.json").write_text(json.dumps(fresh), encoding="utf-8")
        change(scores)
        (tmp_path / "data/scores.json").write_text(json.dumps(scores), encoding="utf-8")
        monkeypatch.setattr(deployments, "PROJECT", tmp_path)
        show = "import pathlib; print(pathlib.Path('fresh.json').read_text())"
        monkeypatch.setattr(deployments, "scoring", lambda _params: [sys.executable, "-c", show])
        return deployments.drift(**RETRIES, return_state=True)

    return run


def test_a_drift_is_a_state_of_its_own_and_a_warning_that_names_the_layers(record, client, caplog):
    def change(scores):
        for values in (
            scores["readings"]["avss"]["scores"],
            *scores["stability"]["avss"]["interval"].values(),
        ):
            values[2] *= 10

    log = logging.getLogger("prefect.flow_runs")  # it passes nothing on to its parents
    log.addHandler(caplog.handler)
    try:
        state = record(change)
    finally:
        log.removeHandler(caplog.handler)
    assert (state.name, state.is_completed()) == ("Drifted", True)
    assert "outside of the interval over resamples: layers 2;" in state.message
    assert state.message in [entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING"]


def test_scores_that_hold_end_in_the_usual_state(record, client):
    assert record(lambda _scores: None).name == "Completed"


def test_a_record_of_another_score_is_no_drift_but_an_error(record, client):
    state = record(lambda scores: scores["readings"]["avss"].update(score="angular"))
    with pytest.raises(ValueError, match=r"chosen by the score 'angular', and score\.name is 'avss' now"):
        state.result()


def test_a_record_without_intervals_is_refused(record, client):
    state = record(lambda scores: scores["stability"]["avss"].pop("interval"))
    with pytest.raises(ValueError, match="no intervals"):
        state.result()
