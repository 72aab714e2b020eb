"""Stage collect: statistics of every layer for each text source, and the activation dump."""

from avss_core.digests import write_json
from flows.collection import collect_texts, dump_answers
from flows.params import Params
from flows.stage import stage
from flows.workspace import Workspace
from tasks.lineage import LEARNT
from tasks.stage_log import StageLog


@stage(
    "collect",
    ("seed", "model", "data", "collect", "evaluate"),
    reads=("questions/calibration", *LEARNT, "text/calibration"),
)
def collect(params: Params, workspace: Workspace) -> StageLog:
    """Measure activations in one streaming pass over each source."""
    options = params.collect
    sources = {"text": (workspace.prepared / "text" / "calibration.json", options.tokens)}
    for name in params.data.sets:
        sources[name] = (workspace.prepared / name / "calibration.jsonl", options.set_tokens)
    # A very small set has no calibration row.
    known = {name: source for name, source in sources.items() if source[0].stat().st_size}
    statistics = collect_texts(params, workspace.dense, known)
    dump = dump_answers(params, workspace.dense, workspace.prepared, workspace.activations)
    write_json(workspace.statistics, statistics)
    tokens = {f"collect.tokens.{name}": found["tokens"] for name, found in statistics.items()}
    return StageLog(metrics={**tokens, "collect.answers": dump["answers"]})
