"""Stage localize: which layers behave differently on hallucinated answers (EAVSS)."""

from pathlib import Path

from avss_core.files.writing import write_json
from avss_core.settings.params import Params
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.history.stage_log import StageLog
from tasks.localize import localize_layers
from tasks.records import Localization


@stage("localize", ("seed", "collect", "localize"))
def localize(params: Params, workspace: Workspace) -> StageLog:
    """Read EAVSS of every layer from the activation dump."""
    record = localized(params, workspace.activations)
    write_json(workspace.localization, record)
    return StageLog(
        layers={f"localize.{name}": reading["values"] for name, reading in record["readings"].items()}
        | {"localize.probe_auroc": record["probe_auroc"]},
        tables={"localization.json": record},
        tags={"most_prone": str(record["most_prone"])},
    )


def localized(params: Params, activations: Path) -> Localization:
    """Return EAVSS of every layer from an activation dump."""
    return localize_layers(
        activations,
        params.collect.dump_site,
        reading=params.localize.reading,
        resamples=params.localize.resamples,
        seed=params.seed,
    )
