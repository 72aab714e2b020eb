"""Stage localize: which layers behave differently on hallucinated answers (EAVSS)."""

from avss_core.files.writing import write_json
from avss_core.jobs.prone.layer_localization import localization_settings
from avss_core.settings.params import Params
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.history.stage_log import StageLog
from tasks.localize import localize_layers


@stage("localize", ("seed", "collect", "localize"))
def localize(params: Params, workspace: Workspace) -> StageLog:
    """Read EAVSS of every layer from the activation dump."""
    record = localize_layers(workspace.activations, **localization_settings(params))
    write_json(workspace.localization, record)
    return StageLog(
        layers={f"localize.{name}": reading["values"] for name, reading in record["readings"].items()}
        | {"localize.probe_auroc": record["probe_auroc"]},
        tables={"localization.json": record},
        tags={"most_prone": str(record["most_prone"])},
    )
