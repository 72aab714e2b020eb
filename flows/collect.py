"""Stage collect: statistics of every layer for each text source, and the activation dump."""

from avss_core.data.lineage import LEARNT
from avss_core.files.writing import write_json
from avss_core.jobs.prone.answer_dump import asked_answers, dump_settings
from avss_core.jobs.text_collection import collect_texts
from avss_core.settings.params import Params
from flows.running.execution import run_in
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.collect import dump_activations
from tasks.history.stage_log import StageLog


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
    # A very small set has no calibration rows.
    known = {name: source for name, source in sources.items() if source[0].stat().st_size}
    statistics = collect_texts(params, workspace.dense, known, run_in(params))
    dump = dump_activations(
        workspace.dense,
        workspace.prepared,
        own=asked_answers(params, workspace.dense, workspace.prepared, run_in(params)),
        folder=workspace.activations,
        **dump_settings(params),
    )
    write_json(workspace.statistics, statistics)
    tokens = {f"collect.tokens.{name}": record["tokens"] for name, record in statistics.items()}
    return StageLog(metrics={**tokens, "collect.answers": dump["answers"]})
