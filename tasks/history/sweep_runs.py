"""A sweep in the history: one parent run with the curves, and one run below it for each point."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric

from tasks.history.processes import terminated_as_interrupt
from tasks.history.run_store import check_store as check_store
from tasks.history.run_store import open_store
from tasks.history.stage_log import StageLog, log_batches, points
from tasks.history.tracking import PARENT, create_run, git_commit


def record_sweep(home: Path, project: Path, sweep: Mapping[str, Any], folder: Path) -> None:
    """Write a sweep into the history, each point with its loss and its size.

    Args:
        home: folder of the history, unless a server keeps it.
        project: repository whose commit is noted.
        sweep: what `avss sweep --json` prints.
        folder: where sweep.svg and sweep.json are.

    Raises:
        ConnectionError: the server of the history does not answer.
    """
    client, experiment = open_store(home)
    commit, answer = {"git.commit": git_commit(project)}, sweep["answer"]
    dense = {
        "dense.loss": sweep["dense"]["nll"],
        **{f"dense.{key}": sweep[key] for key in ("layers", "parameters", "bytes")},
    }
    with _run(
        client, experiment, f"sweep {Path(sweep['model']).name}", commit | {"avss.stage": "sweep"}
    ) as parent:
        settings = {"model": sweep["model"], "text": sweep["text"], "scores": ",".join(sweep["scores"])}
        settings |= {f"tokens.{key}": value for key, value in sweep["tokens"].items()}
        _log(client, parent, settings, dense)
        log_batches(client, parent, metrics=_curves(sweep["points"]))
        if answer:
            client.set_tag(parent, "answer", _label(answer))
        for file in ("sweep.svg", "sweep.json"):
            client.log_artifact(parent, str(folder / file))
        for point in sweep["points"]:
            tags = {"avss.stage": "sweep point", PARENT: parent, "knee": str(point["knee"]).lower()}
            with _run(client, experiment, _label(point), commit | tags) as run:
                choice = {key: point[key] for key in ("score", "removed_layers", "removed", "model")}
                _log(client, run, choice, _figures(point))


def _label(point: Mapping[str, Any]) -> str:
    """Return the name of a point, such as "avss 7 repaired"."""
    return f"{point['score']} {point['removed_layers']} {point['model']}"


def _figures(point: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of a point; what was not asked is left out."""
    figures = {
        "loss": point["loss"],
        **{f"over_dense.{key}": value for key, value in point["change"].items()},
        "parameters": point["parameters"],
        "bytes": point["bytes"],
        "preferred": point["preferred"],
    }
    return {key: value for key, value in figures.items() if value is not None}


def _curves(sweep_points: list[Mapping[str, Any]]) -> list[Metric]:
    """Return the loss of each score, pruned and repaired; the step is the number of layers removed."""
    now = int(time.time() * 1000)
    return [
        Metric(f"loss.{each['score']}.{each['model']}", each["loss"], now, each["removed_layers"])
        for each in sweep_points
    ]


def _log(client: MlflowClient, run: str, params: Mapping[str, Any], figures: Mapping[str, float]) -> None:
    """Write parameters and metrics into a run."""
    metrics, missing = points(StageLog(metrics=figures))
    log_batches(client, run, metrics=metrics, params=params, tags=missing)


@contextmanager
def _run(client: MlflowClient, experiment: str, name: str, tags: Mapping[str, str]) -> Iterator[str]:
    """Yield the id of a new run, which ends with the context."""
    with terminated_as_interrupt():
        run, status = create_run(client, experiment, name, tags), "KILLED"
        try:
            yield run
            status = "FINISHED"
        finally:
            client.set_terminated(run, status)
