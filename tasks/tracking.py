"""MLflow keeps the history: one parent run a pipeline run, one child a stage, always by explicit run id."""

import math
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType

from tasks.databases import is_damaged

EXPERIMENT = "avss"
PIPELINE_VARIABLE = "AVSS_PIPELINE"
"""Environment variable by which the processes of one pipeline run know that they belong together."""

_ACTIVE: ContextVar[tuple[MlflowClient, str] | None] = ContextVar("avss_stage_run", default=None)
"""Client and id of the stage run that is open here."""

_PIPELINE, _OWNER, _PARENT = "avss.pipeline", "avss.owner", "mlflow.parentRunId"


@dataclass(frozen=True)
class StageLog:
    """What a stage tells of itself when it is done."""

    metrics: Mapping[str, float | None] = field(default_factory=dict)
    files: Sequence[Path] = ()
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name of a JSON file -> its content."""
    tags: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def pipeline_run(home: Path) -> Iterator[None]:
    """Make all stages inside the context children of one parent run, and end that run with the context.

    The parent is made by the first stage: a pipeline in which no stage runs leaves no run behind.
    """
    before = os.environ.get(PIPELINE_VARIABLE)
    name = before or f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
    os.environ[PIPELINE_VARIABLE] = name
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    finally:
        if before is None:
            del os.environ[PIPELINE_VARIABLE]
            end_pipeline(home, name, status)


def end_pipeline(home: Path, name: str, status: str) -> None:
    """End the parent run of a pipeline, and every child of it that still runs."""
    if not (home / "mlflow.db").is_file() and "MLFLOW_TRACKING_URI" not in os.environ:
        return
    client, experiment = _client(home)
    for run in _search(client, experiment, f"tags.`{_PIPELINE}` = '{name}'"):
        if run.info.status == "RUNNING":
            is_parent = _PARENT not in run.data.tags
            client.set_terminated(run.info.run_id, status if is_parent else "KILLED")


@contextmanager
def stage_run(
    home: Path, stage: str, params: Mapping[str, Any], parameters_digest: str
) -> Iterator[Callable[[StageLog], None]]:
    """Record one stage as a run, and yield the function that logs its results.

    The run ends as FINISHED, FAILED (an error) or KILLED (interrupted or terminated); runs that a killed
    process left behind are ended first.
    """  # noqa: DOC501 - an interrupt is only passed on
    client, experiment = _client(home)
    _end_orphans(client, experiment)
    pipeline = (
        os.environ.get(PIPELINE_VARIABLE) or _dvc_pipeline() or f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
    )
    tags = {_PIPELINE: pipeline, "git.commit": _git_commit(home), "avss.parameters": parameters_digest}
    parent = _parent(client, experiment, pipeline, tags)
    run = _create(client, experiment, stage, tags | {_PARENT: parent, "avss.stage": stage}, os.getpid())
    client.log_batch(run, params=[Param(key, str(value)[:6000]) for key, value in params.items()])
    status = "FAILED"
    active = _ACTIVE.set((client, run))
    with _terminated_as_interrupt():
        try:
            yield lambda log: _log(client, run, parent, log)
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            _ACTIVE.reset(active)
            client.set_terminated(run, status)
            if PIPELINE_VARIABLE not in os.environ and (status != "FINISHED" or stage == "report"):
                client.set_terminated(parent, status)


def open_run() -> tuple[MlflowClient, str] | None:
    """Return client and id of the stage run that is open here, None outside of one."""
    return _ACTIVE.get()


def _client(home: Path) -> tuple[MlflowClient, str]:
    """Return a client and the id of the experiment; the database is made under a lock.

    The home's own SQLite file is used unless MLFLOW_TRACKING_URI names a server.

    Raises:
        OSError: that file is damaged.
    """
    remote = os.environ.get("MLFLOW_TRACKING_URI")
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    # MLflow migrates a fresh SQLite file on first use: two processes at once would break it for good.
    with FileLock(home / ".mlflow.lock"):
        if remote is None and is_damaged(home / "mlflow.db"):
            raise OSError(
                f"{home / 'mlflow.db'}, the history of experiments, is damaged: put a copy of it in its "
                "place, or move it away to begin a new one"
            )
        client = MlflowClient(remote or f"sqlite:///{home / 'mlflow.db'}")
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return client, experiment.experiment_id
        location = None if remote else (home / "mlartifacts").as_uri()
        return client, client.create_experiment(EXPERIMENT, artifact_location=location)


def _parent(client: MlflowClient, experiment: str, pipeline: str, tags: Mapping[str, str]) -> str:
    """Return the parent run of a pipeline; the first stage makes it."""
    for run in _search(client, experiment, f"tags.`{_PIPELINE}` = '{pipeline}'"):
        if _PARENT not in run.data.tags:
            return run.info.run_id
    owner = _pipeline_process(pipeline)
    name = time.strftime("pipeline %Y-%m-%d %H:%M:%S")
    return _create(client, experiment, name, {**tags, "avss.stage": "pipeline"}, owner)


def _create(client: MlflowClient, experiment: str, name: str, tags: Mapping[str, str], owner: int) -> str:
    """Create a run that knows which process it belongs to."""
    started = psutil.Process(owner).create_time()
    run = client.create_run(experiment, run_name=name, tags={**tags, _OWNER: f"{owner}:{started}"})
    return str(run.info.run_id)


def _end_orphans(client: MlflowClient, experiment: str) -> None:
    """End the runs whose process is gone."""
    for run in _search(client, experiment, "attributes.status = 'RUNNING'"):
        owner = run.data.tags.get(_OWNER)
        if owner is not None and not _alive(owner):
            client.set_terminated(run.info.run_id, "KILLED")


def _alive(owner: str) -> bool:
    """Tell whether the process "pid:start time" of this machine still runs."""
    pid, _, started = owner.partition(":")
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) < 1
    except psutil.NoSuchProcess:
        return False


def _dvc_pipeline() -> str | None:
    """Return a name for the `dvc repro` that this process runs under, None outside of it."""
    for process in psutil.Process().parents():
        if "DVC_ROOT" in os.environ and any(Path(part).name == "dvc" for part in process.cmdline()[:3]):
            return f"{process.pid}-{process.create_time()}"
    return None


def _pipeline_process(pipeline: str) -> int:
    """Return the process that a pipeline's parent run belongs to: its name starts with the number."""
    pid = pipeline.partition("-")[0]
    return int(pid) if pid.isdigit() and psutil.pid_exists(int(pid)) else os.getpid()


def _search(client: MlflowClient, experiment: str, where: str) -> Sequence[Any]:
    return client.search_runs([experiment], where, run_view_type=ViewType.ACTIVE_ONLY, max_results=1000)


def _log(client: MlflowClient, run: str, parent: str, log: StageLog) -> None:
    """Write metrics, tables, figures and tags; metrics and figures also on the parent, for comparison."""
    now = int(time.time() * 1000)
    finite = {key: value for key, value in log.metrics.items() if value is not None and math.isfinite(value)}
    missing = {f"not_a_number.{key}": "true" for key in log.metrics.keys() - finite.keys()}
    batch = [Metric(key, float(value), now, 0) for key, value in finite.items()]
    tags = [RunTag(key, value) for key, value in {**log.tags, **missing}.items()]
    for target in (run, parent):
        for start in range(0, len(batch), 900):
            client.log_batch(target, metrics=batch[start : start + 900])
        client.log_batch(target, tags=tags)
    for name, content in log.tables.items():
        client.log_dict(run, dict(content), name)
    for path in log.files:
        client.log_artifact(run, str(path), "figures" if path.suffix in {".png", ".svg"} else None)


def _git_commit(home: Path) -> str:
    """Return the commit of the repository, with a mark where files differ from it; "none" outside of one."""
    command = ["git", "-C", str(home), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "none"


@contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """Turn SIGTERM into an exception inside the context, so that the run's state is written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
