"""Stage prepare: check and split the data, write the model as a plain checkpoint."""

from prefect.logging import get_logger

from avss_core.models.architectures import reads_both_ways
from avss_core.models.loading import load_config
from avss_core.models.locations import model_name
from flows import PROJECT, SAMPLE
from flows.running.stage import stage
from flows.running.workspace import Workspace
from flows.settings.params import Params
from tasks.data.lineage import ALL
from tasks.data.sources import Wanted
from tasks.history.stage_log import StageLog
from tasks.prepare import prepare_data, prepare_model, width_warning
from tasks.records import Manifest


@stage("prepare", ("seed", "model", "data"), reads=ALL)
def prepare(params: Params, workspace: Workspace) -> StageLog:
    """Bring data and model into the workspace."""
    model_name(params.model.name)  # refuses a missing one before anything is written
    config = load_config(params.model.name, params.model.revision)
    if reads_both_ways(config):
        raise ValueError(encoder_refused("the pipeline", config.model_type))
    sentence = width_warning(params.model.name, params.model.revision, params.model.dtype)
    if sentence:
        get_logger("model").warning(sentence)
    manifest = prepare_rows(params, workspace)
    card = prepare_model(
        params.model.name, params.model.revision, dtype=params.model.dtype, folder=workspace.dense
    )
    return StageLog(
        metrics={"dense.parameters": card["parameters"], "dense.layers": card["layers"]},
        tables={"data.json": manifest, "model.json": card},
        tags={
            "data.digest": manifest["digest"],
            "model.weights": card["weights"],
            "model.name": card["name"],
        },
        checkpoints={"dense": workspace.dense},
    )


def encoder_refused(what: str, model_type: str) -> str:
    """Return the message for an encoder where answers or the next token are asked for."""
    return (
        f"{what} needs a model that writes answers, and {model_type} is an encoder; avss score, prune, "
        "repair, heal and evaluate take it"
    )


def prepare_rows(params: Params, workspace: Workspace) -> Manifest:
    """Put checked rows and text into a workspace, and return the manifest."""
    data = params.data
    manifest: Manifest = prepare_data(
        data.source,
        PROJECT / data.path,
        SAMPLE,
        data.sets,
        wanted(params),
        validation=data.validation,
        calibration=data.calibration,
        seed=params.seed,
        folder=workspace.prepared,
    )
    return manifest


def wanted(params: Params) -> Wanted:
    """Return the text and the sentiment set of the parameters."""
    return Wanted(params.data.text, params.data.sentiment, params.data.characters)
