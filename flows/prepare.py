"""Stage prepare: check and split the data, write the model as a plain checkpoint."""

from prefect.logging import get_logger

from avss_core.data.left_out import rows_left_out
from avss_core.data.lineage import ALL
from avss_core.jobs.preparation import encoder_refused, width_warning
from avss_core.models.architectures import reads_both_ways
from avss_core.models.loading import load_config
from avss_core.models.locations import model_name
from avss_core.settings.params import Params
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.history.stage_log import StageLog
from tasks.prepare import prepare_model, prepare_rows


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
    manifest = prepare_rows(params, workspace.prepared)
    for sentence in rows_left_out(manifest["sets"]):
        get_logger("data").warning(sentence)
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
