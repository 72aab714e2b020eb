"""Stage collect: statistics of every layer for each text source, and the activation dump."""

from typing import Any

from avss_core.digests import write_json
from flows.params import Params
from flows.stage import stage
from flows.workspace import Workspace
from tasks.collect import dump_activations, text_statistics
from tasks.tracking import StageLog


@stage("collect", ("model", "data", "collect"))
def collect(params: Params, workspace: Workspace) -> StageLog:
    """Measure activations in one streaming pass over each source."""
    options = params.collect
    machine: dict[str, Any] = {"dtype": params.model.dtype, "device": params.model.device}
    sources = {"text": (workspace.prepared / "text" / "calibration.json", options.tokens)}
    for name in params.data.sets:
        sources[name] = (workspace.prepared / name / "calibration.jsonl", options.set_tokens)
    statistics = {
        name: text_statistics(
            workspace.dense,
            path,
            **machine,
            tokens=tokens,
            window=options.window,
            batch_size=options.batch_size,
            skip_first=options.skip_first,
            sites=options.sites,
            absolute=options.threshold,
            relative=options.relative_threshold,
        )
        for name, (path, tokens) in sources.items()
        if path.stat().st_size  # a very small set has no calibration row
    }
    dump = dump_activations(
        workspace.dense,
        workspace.prepared,
        params.data.sets,
        **machine,
        site=options.dump_site,
        relative=options.relative_threshold,
        questions=options.answers,
        folder=workspace.activations,
    )
    write_json(workspace.statistics, statistics)
    tokens = {f"collect.tokens.{name}": found["tokens"] for name, found in statistics.items()}
    return StageLog(metrics={**tokens, "collect.answers": dump["answers"]})
