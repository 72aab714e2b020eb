"""Stage speed: the dense and the pruned model timed in turn.

DVC compares the sizes alone: times differ from run to run, and two forced runs must leave the same digests.
"""

from collections.abc import Mapping

from avss_core.files.digests import digest_path
from avss_core.files.writing import write_json
from avss_core.settings.params import Params
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.history.stage_log import StageLog
from tasks.records import SpeedRecord
from tasks.report.words.speed_wording import speed_lines
from tasks.speed import model_size, speed_metrics, time_models


@stage("speed", ("model", "speed"))
def speed(params: Params, workspace: Workspace) -> StageLog:
    """Measure how much faster and smaller the pruned model is."""
    folders = {"dense": workspace.dense, "pruned": workspace.pruned}
    on = params.speed.enabled
    times = timed(params, {name: str(folder) for name, folder in folders.items()}) if on else None
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


def timed(params: Params, models: Mapping[str, str], revision: str | None = None) -> SpeedRecord:
    """Return tokens a second and peak memory of models, by name, and the ratios to the first."""
    options = params.speed
    times: SpeedRecord = time_models(
        models,
        **params.machine,
        revision=revision,
        prompt_tokens=options.prompt_tokens,
        new_tokens=options.new_tokens,
        batch_sizes=options.batch_sizes,
        rounds=options.rounds,
    )
    return times
