"""The history in MLflow: one parent run a pipeline, one child a stage, always by explicit run id."""

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from avss_core.files.digests import digest_path
from tasks.history.processes import (
    TERMINATED,
    alive,
    dvc_pipeline,
    owner_label,
    pipeline_process,
    terminated_as_interrupt,
)
from tasks.history.run_store import has_store, open_store, search, store_lock
from tasks.history.stage_log import StageLog, log_batches, write_log

PIPELINE_VARIABLE = "AVSS_PIPELINE"
"""Environment variable with the name of the pipeline that a process belongs to."""

_ACTIVE: ContextVar[tuple[MlflowClient, str] | None] = ContextVar("avss_stage_run", default=None)
"""Client and id of the open stage run."""

PARENT = "mlflow.parentRunId"
"""Tag with the id of the run above."""

_PIPELINE, _OWNER = "avss.pipeline", "avss.owner"
_LOCK = "dvc.lock"
"""Tag with the digest of this file at the start of a stage and at the end of a pipeline."""


@contextmanager
def pipeline_run(home: Path, project: Path | None = None) -> Iterator[None]:
    """Make all stages inside the context children of one parent run, and end that run with the context.

    The first stage makes the parent, so a pipeline in which no stage runs leaves none.

    Args:
        home: as in `stage_run`.
        project: as in `stage_run`.
    """  # noqa: DOC501 - an interrupt is only passed on
    before = os.environ.get(PIPELINE_VARIABLE)
    name = before or f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
    os.environ[PIPELINE_VARIABLE] = name
    status = "FAILED"
    with terminated_as_interrupt():
        try:
            yield
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        except SystemExit as stop:
            status = "KILLED" if stop.code == TERMINATED else "FAILED"
            raise
        finally:
            if before is None:
                del os.environ[PIPELINE_VARIABLE]
                end_pipeline(home, name, status, project)


def end_pipeline(home: Path, name: str, status: str, project: Path | None = None) -> None:
    """End the parent run of a pipeline, and its children that still run."""
    if not has_store(home):
        return
    client, experiment = open_store(home)
    for run in search(client, experiment, f"tags.`{_PIPELINE}` = '{name}'"):
        is_parent = PARENT not in run.data.tags
        if is_parent:
            client.set_tag(run.info.run_id, _LOCK, _lock_digest(project or home))
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, status if is_parent else "KILLED")


@contextmanager
def stage_run(
    home: Path,
    stage: str,
    params: Mapping[str, Any],
    parameters_digest: str,
    pipeline_params: Mapping[str, Any] | None = None,
    *,
    project: Path | None = None,
) -> Iterator[Callable[[StageLog], None]]:
    """Record one stage as a run, and yield the function that logs its results.

    The run ends as FINISHED, FAILED (an error) or KILLED (interrupted or terminated). Runs that a killed
    process left behind are ended first.

    Args:
        home: folder of the history, unless a server keeps it.
        stage: name of the run.
        params: the parameters that the stage reads, by their flat names.
        parameters_digest: digest of all parameters.
        pipeline_params: all parameters, for the parent run; if None, those of the stage.
        project: repository whose commit and `dvc.lock` are noted; None for `home`.

    Raises:
        ConnectionError: the server of the history does not answer.
    """  # noqa: DOC501 - an interrupt is only passed on
    with terminated_as_interrupt():
        client, experiment = open_store(home)
        _end_orphans(client, experiment)
        pipeline = (
            os.environ.get(PIPELINE_VARIABLE) or dvc_pipeline() or f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        )
        tags = {
            _PIPELINE: pipeline,
            "git.commit": git_commit(project or home),
            _LOCK: _lock_digest(project or home),
            "avss.parameters": parameters_digest,
        }
        with store_lock(home):
            parent = _parent(client, experiment, pipeline, tags, pipeline_params or params)
        run = create_run(client, experiment, stage, tags | {PARENT: parent, "avss.stage": stage})
        status, active = "FAILED", _ACTIVE.set((client, run))
        try:
            log_batches(client, run, params=params)
            yield lambda log: write_log(client, run, parent, log, project or home)
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            _ACTIVE.reset(active)
            client.set_terminated(run, status)
            if PIPELINE_VARIABLE not in os.environ:
                # Nobody tells which stage is the last of a plain `dvc repro` or `dvc exp run`.
                client.set_terminated(parent, status)


def open_run() -> tuple[MlflowClient, str] | None:
    """Return client and id of the open stage run, None without one."""
    return _ACTIVE.get()


def _parent(
    client: MlflowClient,
    experiment: str,
    pipeline: str,
    tags: Mapping[str, str],
    params: Mapping[str, Any],
) -> str:
    """Return the parent run of a pipeline, which runs again; the first stage makes it with all parameters."""
    for run in search(client, experiment, f"tags.`{_PIPELINE}` = '{pipeline}'"):
        if PARENT not in run.data.tags:
            if run.info.status != "RUNNING":
                client.update_run(run.info.run_id, "RUNNING")
            return str(run.info.run_id)
    owner = pipeline_process(pipeline)
    name = time.strftime("pipeline %Y-%m-%d %H:%M:%S")
    parent = create_run(client, experiment, name, {**tags, "avss.stage": "pipeline"}, owner)
    log_batches(client, parent, params=params)
    return parent


def create_run(
    client: MlflowClient, experiment: str, name: str, tags: Mapping[str, str], owner: int | None = None
) -> str:
    """Create a run with the label of the process that it belongs to: if None, this one."""
    run = client.create_run(
        experiment, run_name=name, tags={**tags, _OWNER: owner_label(owner or os.getpid())}
    )
    return str(run.info.run_id)


def _end_orphans(client: MlflowClient, experiment: str) -> None:
    """End the runs of processes that are gone."""
    for run in search(client, experiment, "attributes.status = 'RUNNING'"):
        owner = run.data.tags.get(_OWNER)
        if owner is not None and not alive(owner):
            client.set_terminated(run.info.run_id, "KILLED")


def git_commit(home: Path) -> str:
    """Return the commit of the repository, marked if files differ from it.

    "none" outside of a repository, and "none (REASON)" where git cannot tell.
    """
    command = ["git", "-C", str(home), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        described = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
        )
    except OSError as error:
        return f"none (git cannot be run: {error.strerror})"
    if described.stdout.strip():
        return described.stdout.strip()
    reason = (described.stderr.strip() or "git said nothing").splitlines()[0].removeprefix("fatal: ")
    return "none" if reason.startswith("not a git repository") else f"none ({reason})"


def _lock_digest(home: Path) -> str:
    """Return the digest of the repository's `dvc.lock`, "none" before the first stage."""
    lock = home / "dvc.lock"
    return digest_path(lock) if lock.is_file() else "none"
