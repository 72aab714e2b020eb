"""What a stage logs, written into its MLflow run and into the run of its pipeline."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModel, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from avss_core.data.lineage import DataPart
from avss_core.settings.masking import masked
from tasks.history.logged_models import DIGEST_SIGNS, crown, link_models, logged_model, pointer, tied

Value = float | None
Item = TypeVar("Item")

_METRICS, _PARAMS_OR_TAGS = 900, 90
"""Most that go into one request; MLflow takes 1000 and 100."""


@dataclass(frozen=True)
class StageLog:
    """What a stage logs at its end."""

    metrics: Mapping[str, Value] = field(default_factory=dict)
    layers: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    """Name of a metric -> its value at each layer; the layer is the metric's step."""
    files: Sequence[Path] = ()
    """Figures, pages and tables (CSV), which the UI shows."""
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name of a JSON file -> its content."""
    tags: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    """Name of a model that the stage made -> its folder; path, digest and size are recorded, no weights."""
    measured: Mapping[str, Path] = field(default_factory=dict)
    """Name of a model that another stage made -> its folder. Metrics `NAME.SET.FIGURE` are of these, too."""
    champion: str = ""
    """Name of the dense model of which the model in `measured` passed the gate; "" if none did."""
    data: Sequence[DataPart] = ()
    """The data that the numbers were measured on."""
    note: str = ""
    """Markdown that describes the run of the pipeline, which the UI shows first."""
    pictures: Sequence[Path] = ()
    """Those of `files` that the run of the pipeline holds, too."""
    left_out: str = ""
    """The parameter that switched the stage off, "" if it did its work."""


def write_log(client: MlflowClient, run: str, parent: str, log: StageLog, project: Path) -> None:
    """Write a log into the run of its stage, and its metrics, tags and data into the parent, too.

    An infinite value or NaN is left out and sets the tag `not_a_number.NAME`. Paths count from `project`.
    """
    pointers = [pointer(name, folder, project) for name, folder in log.checkpoints.items()]
    models = _models(client, run, pointers, log, project)
    measured, missing = points(log)
    tags = {**log.tags, **missing}
    for each in pointers:
        tags |= {f"checkpoint.{each['name']}.{key}": str(each[key]) for key in ("path", "digest", "bytes")}
    # The parent's metrics are the same; a model has each once.
    for target, metrics in ((run, tied(measured, models, log.data)), (parent, measured)):
        log_batches(client, target, metrics=metrics, tags=tags)
        if log.data:
            client.log_inputs(target, [_input(part) for part in log.data])
    if log.note:
        client.set_tag(parent, MLFLOW_RUN_NOTE, masked(log.note))
    for picture in log.pictures:
        client.log_artifact(parent, str(picture), "figures")
    for name, content in log.tables.items():
        # Like the files of the stages: sorted keys, and no NaN.
        client.log_text(run, json.dumps(content, indent=2, sort_keys=True, allow_nan=False), name)
    if pointers:
        _log_table(client, run, "checkpoints", pd.DataFrame(pointers))
    for path in log.files:
        if path.suffix == ".csv":
            _log_table(client, run, path.stem, pd.read_csv(path))
        else:
            client.log_artifact(run, str(path), "figures" if path.suffix in {".png", ".svg"} else None)


def log_batches(
    client: MlflowClient,
    run: str,
    *,
    metrics: Sequence[Metric] = (),
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Write into a run, in requests of a size that MLflow takes."""
    settings = [Param(key, masked(str(value))[:6000]) for key, value in (params or {}).items()]
    labels = [RunTag(key, masked(value)) for key, value in (tags or {}).items()]
    for metric_part in _parts(metrics, _METRICS):
        client.log_batch(run, metrics=metric_part)
    for param_part in _parts(settings, _PARAMS_OR_TAGS):
        client.log_batch(run, params=param_part)
    for tag_part in _parts(labels, _PARAMS_OR_TAGS):
        client.log_batch(run, tags=tag_part)


def _parts(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _models(
    client: MlflowClient, run: str, pointers: Sequence[Mapping[str, Any]], log: StageLog, project: Path
) -> dict[str, LoggedModel]:
    """Return MLflow's models of the checkpoints that a stage made or measured, and move the champion."""
    read = [pointer(name, folder, project) for name, folder in log.measured.items()]
    experiment = client.get_run(run).info.experiment_id
    found = {each["name"]: logged_model(client, experiment, run, each) for each in (*pointers, *read)}
    models = {name: model for name, model in found.items() if model is not None}
    made = [model for name, model in models.items() if name in log.checkpoints]
    measured = [model for name, model in models.items() if name in log.measured]
    link_models(client, run, made, measured)
    if log.champion and measured:
        crown(client, log.champion, measured[0])
    return models


def _log_table(client: MlflowClient, run: str, name: str, table: pd.DataFrame) -> None:
    """Write a table that the UI shows."""
    # As objects: pandas 3 warns about columns of text when MLflow 3.17 looks for images in them.
    client.log_table(run, table.astype(object), f"tables/{name}.json")


def points(log: StageLog) -> tuple[list[Metric], dict[str, str]]:
    """Return the finite values as metrics, and a tag for each name with another value."""
    now = int(time.time() * 1000)
    values = [(name, value, 0) for name, value in log.metrics.items()]
    values += [(name, value, layer) for name, line in log.layers.items() for layer, value in enumerate(line)]
    finite, missing = [], {}
    for name, value, step in values:
        if value is not None and math.isfinite(value):
            finite.append(Metric(name, float(value), now, step))
        else:
            missing[f"not_a_number.{name}"] = "true"
    return finite, missing


def _input(part: DataPart) -> DatasetInput:
    """Return MLflow's record of a part of the data."""
    source = json.dumps({"uri": part.path, "origin": part.origin})
    profile = json.dumps({"num_rows": part.count})
    dataset = Dataset(part.name, part.digest[:DIGEST_SIGNS], "local", source, profile=profile)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", part.split)])
