"""Stage speed: the dense and the pruned model timed in turn.

DVC compares the sizes alone: times differ from run to run, and two forced runs must leave the same digests.
"""

from avss_core.files.digests import digest_path
from avss_core.files.writing import write_json
from avss_core.jobs.model_times import speed_settings
from avss_core.jobs.speed_wording import speed_lines
from avss_core.settings.params import Params
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.history.stage_log import StageLog
from tasks.speed import model_size, speed_metrics, time_models


@stage("speed", ("model", "speed"))
def speed(params: Params, workspace: Workspace) -> StageLog:
    """Measure how much faster and smaller the pruned model is."""
    folders = {"dense": workspace.dense, "pruned": workspace.pruned}
    places, on = {name: str(folder) for name, folder in folders.items()}, params.speed.enabled
    times = time_models(places, **speed_settings(params)) if on else None
    sizes = {
        name: model_size(folder, params.model.dtype)
        | {"cache_bytes_per_token": times["models"][name]["cache_bytes"] if times else None}
        for name, folder in folders.items()
    }
    checkpoint = digest_path(workspace.pruned / "certificate.json")
    record = {**(times or {}), "enabled": on, "checkpoint": checkpoint}
    write_json(workspace.times, record)
    write_json(workspace.sizes, sizes)
    if on:
        print("\n".join(speed_lines(record)), flush=True)
    return StageLog(
        metrics=speed_metrics(times) if times else {},
        tables={"speed.json": record, "sizes.json": sizes},
        left_out="" if on else "speed.enabled",
    )
