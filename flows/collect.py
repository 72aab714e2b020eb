"""Stage collect: statistics of every layer for each text source, and the activation dump."""

from functools import partial
from pathlib import Path
from typing import Any

from avss_core.data.lineage import LEARNT
from avss_core.data.rows import learning_files
from avss_core.files.writing import write_json
from avss_core.jobs.text_collection import collect_texts
from avss_core.settings.params import Params
from flows.running.execution import run, run_in
from flows.running.stage import stage
from flows.running.workspace import Workspace
from tasks.answers.own_answers import own_answers
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
    dump = dump_answers(params, workspace.dense, workspace.prepared, workspace.activations)
    write_json(workspace.statistics, statistics)
    tokens = {f"collect.tokens.{name}": record["tokens"] for name, record in statistics.items()}
    return StageLog(metrics={**tokens, "collect.answers": dump["answers"]})


def dump_answers(params: Params, model: Path, prepared: Path, folder: Path) -> dict[str, Any]:
    """Write the activation dump of a model into a folder, and return its counts."""
    source = params.collect.answers_from
    dump: dict[str, Any] = dump_activations(
        model,
        prepared,
        params.data.sets,
        **params.machine,
        site=params.collect.dump_site,
        relative=params.collect.relative_threshold,
        questions=params.collect.answers,
        supplied=source != "generated",
        own={} if source == "supplied" else _own_answers(params, model, prepared),
        folder=folder,
    )
    return dump


def _own_answers(params: Params, model: Path, prepared: Path) -> dict[str, Any]:
    """Return the model's own answers by set, to the questions of every part but the test."""
    collecting, asking = params.collect, params.evaluate
    jobs = {
        name: partial(
            own_answers,
            model,
            learning_files(prepared / name),
            prepared / name / "calibration.jsonl",
            **params.machine,
            questions=collecting.answers,
            shots=asking.shots,
            chat=asking.chat,
            max_new_tokens=asking.max_new_tokens,
            batch_size=asking.batch_size,
            samples=collecting.samples,
            temperature=collecting.temperature,
            seed=params.seed,
            judge_name=collecting.judge,
        )
        for name in params.data.sets
    }
    answers: dict[str, Any] = run(params, jobs, "own answers")
    return answers
