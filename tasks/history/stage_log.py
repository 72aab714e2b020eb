"""What a stage tells of itself, and how that is written into its MLflow run and the run of its pipeline."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from avss_core.files.digests import digest_json, digest_path
from tasks.data.lineage import DataPart
from tasks.history.masking import masked

Value = float | None

_METRICS, _PARAMS_OR_TAGS = 900, 90
"""As many go into one request; MLflow takes 1000 and 100 at most."""


@dataclass(frozen=True)
class StageLog:
    """What a stage tells of itself when it is done."""

    metrics: Mapping[str, Value] = field(default_factory=dict)
    layers: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    """Name of a metric -> its value at each layer; the layer is the metric's step."""
    files: Sequence[Path] = ()
    """Figures, pages, and tables (CSV), which the UI shows as such."""
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name of a JSON file -> its content."""
    tags: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, Path] = field(default_factory=dict)
    """Name of a model -> its folder, of which path, digest and size are recorded, never the weights."""
    data: Sequence[DataPart] = ()
    """The data that the numbers are of."""
    left_out: str = ""
    """The parameter that leaves the stage out, which then read no data; nothing where it did its work."""


def write_log(client: MlflowClient, run: str, parent: str, log: StageLog) -> None:
    """Write all that a stage tells into its run; what pipelines are compared by into the parent, too.

    A value that is no finite number is left out, and a tag `not_a_number.NAME` says so.
    """
    pointers = [pointer(name, folder) for name, folder in log.checkpoints.items()]
    points, missing = _points(log)
    tags = {**log.tags, **missing}
    for found in pointers:
        tags |= {f"checkpoint.{found['name']}.{key}": str(found[key]) for key in ("path", "digest", "bytes")}
    for target in (run, parent):
        log_batches(client, target, metrics=points, tags=tags)
        if log.data:
            client.log_inputs(target, [_input(part) for part in log.data])
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
    for start in range(0, len(metrics), _METRICS):
        client.log_batch(run, metrics=metrics[start : start + _METRICS])
    settings = [Param(key, masked(str(value))[:6000]) for key, value in (params or {}).items()]
    for start in range(0, len(settings), _PARAMS_OR_TAGS):
        client.log_batch(run, params=settings[start : start + _PARAMS_OR_TAGS])
    labels = [RunTag(key, masked(value)) for key, value in (tags or {}).items()]
    for start in range(0, len(labels), _PARAMS_OR_TAGS):
        client.log_batch(run, tags=labels[start : start + _PARAMS_OR_TAGS])


def pointer(name: str, folder: Path) -> dict[str, Any]:
    """Return where a checkpoint lies, the digest of its weights (as in `model_card.json`) and their bytes.

    Digest and size are those of all safetensors files; a folder without any is of a stage that was left out,
    and has none.
    """
    files = sorted(folder.glob("*.safetensors"))
    return {
        "name": name,
        "path": str(folder),
        "digest": digest_json({path.name: digest_path(path) for path in files}) if files else "none",
        "bytes": sum(path.stat().st_size for path in files),
    }


def _log_table(client: MlflowClient, run: str, name: str, table: pd.DataFrame) -> None:
    """Write a table as the UI shows it."""
    # As objects: of columns of text pandas 3 warns where MLflow 3.17 looks for images.
    client.log_table(run, table.astype(object), f"tables/{name}.json")


def _points(log: StageLog) -> tuple[list[Metric], dict[str, str]]:
    """Return the finite values as metrics, and a tag for each name that has another one."""
    now = int(time.time() * 1000)
    values = [(name, value, 0) for name, value in log.metrics.items()]
    values += [(name, value, layer) for name, line in log.layers.items() for layer, value in enumerate(line)]
    points, missing = [], {}
    for name, value, step in values:
        if value is not None and math.isfinite(value):
            points.append(Metric(name, float(value), now, step))
        else:
            missing[f"not_a_number.{name}"] = "true"
    return points, missing


def _input(part: DataPart) -> DatasetInput:
    """Return a part of the data as MLflow's record of an input."""
    source = json.dumps({"uri": part.path, "origin": part.origin})
    profile = json.dumps({"num_rows": part.count})
    # MLflow keeps 36 characters of a digest.
    dataset = Dataset(part.name, part.digest[:36], "local", source, profile=profile)
    return DatasetInput(dataset, [InputTag("mlflow.data.context", part.split)])
