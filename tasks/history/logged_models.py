"""Checkpoints as models of MLflow, told apart by their digest; their weights stay where they are."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelInput, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL, MLFLOW_MODEL_VERSIONS

from avss_core.data.lineage import DataPart
from avss_core.files.digests import digest_json, digest_path
from avss_core.settings.masking import masked

CHAMPION = "champion"
"""Alias of the checkpoint that passed the gate last."""

DIGEST_SIGNS = 36
"""Characters of a data set's digest that MLflow keeps."""

_TEST_PARTS = {"text": "text/test", "sentiment": "sst2/validation"}
"""Data behind the figures of a model that are not of a question set; those are of its test questions."""


def pointer(name: str, folder: Path, project: Path) -> dict[str, Any]:
    """Return path of a checkpoint, digest of its safetensors files (as in `model_card.json`) and their bytes.

    The path counts from the repository, unless the checkpoint lies outside. The folder of a stage that is
    switched off has no such files, and the digest "none".
    """
    files = sorted(folder.glob("*.safetensors"))
    whole, root = folder.resolve(), project.resolve()
    return {
        "name": name,
        "path": str(whole.relative_to(root) if whole.is_relative_to(root) else whole),
        "digest": digest_json({path.name: digest_path(path) for path in files}) if files else "none",
        "bytes": sum(path.stat().st_size for path in files),
    }


def logged_model(
    client: MlflowClient, experiment: str, run: str, checkpoint: Mapping[str, Any]
) -> LoggedModel | None:
    """Return MLflow's model of a checkpoint, made when it is first seen; None for an empty folder.

    Args:
        client: of the history.
        experiment: its id.
        run: the run that a new model is said to come from.
        checkpoint: its `pointer`.
    """
    if checkpoint["digest"] == "none":
        return None
    tags = {key: str(checkpoint[key]) for key in ("digest", "bytes")} | {"path": masked(checkpoint["path"])}
    where = f"name = '{checkpoint['name']}' and tags.`digest` = '{tags['digest']}'"
    for model in client.search_logged_models([experiment], where, max_results=1):
        client.set_logged_model_tags(model.model_id, tags)
        return model
    model = client.create_logged_model(
        experiment,
        checkpoint["name"],
        run,
        {MLFLOW_MODEL_IS_EXTERNAL: "true", **tags},
        model_type="checkpoint",
    )
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def link_models(
    client: MlflowClient, run: str, made: Sequence[LoggedModel], read: Sequence[LoggedModel]
) -> None:
    """Say which models a run made and which it measured."""
    if made:
        client.log_outputs(run, [LoggedModelOutput(model.model_id, 0) for model in made])
    if read:
        client.log_inputs(run, models=[LoggedModelInput(model.model_id) for model in read])


def tied(
    points: Sequence[Metric], models: Mapping[str, LoggedModel], data: Sequence[DataPart]
) -> list[Metric]:
    """Return metrics `MODEL.SET.FIGURE` with their model and data set, and others as they are."""
    parts = {part.name: part for part in data}
    return [_tied(point, models, parts) for point in points]


def _tied(point: Metric, models: Mapping[str, LoggedModel], parts: Mapping[str, DataPart]) -> Metric:
    """Return a metric with its model and its data set, if these are known."""
    name, _, figure = point.key.partition(".")
    if name not in models:
        return point
    measured = figure.partition(".")[0]
    part = parts.get(_TEST_PARTS.get(measured, f"{measured}/test"))
    known = (part.name, part.digest[:DIGEST_SIGNS]) if part else (None, None)
    return Metric(point.key, point.value, point.timestamp, point.step, models[name].model_id, *known)


def crown(client: MlflowClient, registered: str, model: LoggedModel) -> None:
    """Make a model the champion of a registered model, which is made if missing; a model has one version."""
    name = registered_name(registered)
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    tags = {key: model.tags[key] for key in ("path", "digest")}
    known = [
        each
        for each in client.search_model_versions(f"name = '{name}'")
        if each.tags.get("digest") == tags["digest"]
    ]
    # Its address, not `models:/ID`: that MLflow would look up in the history of the working folder.
    version = (
        known[0]
        if known
        else client.create_model_version(
            name, model.artifact_location, model.source_run_id, tags, model_id=model.model_id
        )
    )
    client.set_registered_model_alias(name, CHAMPION, str(version.version))
    versions = json.dumps([{"name": name, "version": int(version.version)}])
    client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: versions})


def registered_name(model: str) -> str:
    """Return the name in MLflow's registry of what is made of a model: "avss-" and the end of its name."""
    return "avss-" + re.sub(r"[^\w.-]+", "-", Path(masked(model)).name)
