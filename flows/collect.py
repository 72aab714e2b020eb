"""Stage collect: statistics of every layer for each text source, and the activation dump."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from avss_core.files.writing import write_json
from avss_core.statistics.layer_records import TextStatistics
from flows.running.execution import run
from flows.running.stage import stage
from flows.running.workspace import Workspace
from flows.settings.params import Params
from tasks.answers.own_answers import own_answers
from tasks.collect import dump_activations, text_statistics
from tasks.data.lineage import LEARNT
from tasks.data.rows import learning_files
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
    statistics = collect_texts(params, workspace.dense, known)
    dump = dump_answers(params, workspace.dense, workspace.prepared, workspace.activations)
    write_json(workspace.statistics, statistics)
    tokens = {f"collect.tokens.{name}": record["tokens"] for name, record in statistics.items()}
    return StageLog(metrics={**tokens, "collect.answers": dump["answers"]})


def collect_texts(
    params: Params, model: Path, sources: Mapping[str, tuple[Path, int]]
) -> dict[str, TextStatistics]:
    """Return the statistics of texts by name, in parts, so that a killed collection goes on where it stopped.

    `sources` has the file of each text, and how many of its tokens are read.

    Raises:
        ValueError: a text has no token to count.
    """
    options = params.collect
    jobs = {
        name: [
            partial(
                text_statistics,
                model,
                source,
                **params.machine,
                tokens=tokens,
                window=options.window,
                batch_size=options.batch_size,
                skip_first=options.skip_first,
                sites=options.sites,
                absolute=options.threshold,
                relative=options.relative_threshold,
                part=part,
                parts=options.parts,
            )
            for part in range(options.parts)
        ]
        for name, (source, tokens) in sources.items()
    }
    sizes = [float(tokens) for _, tokens in sources.values() for _ in range(options.parts)]
    counted = {
        name: [part for part in parts if part["tokens"]]
        for name, parts in run(params, jobs, "statistics", sizes=sizes).items()
    }
    for name, parts in counted.items():
        if not parts:
            raise ValueError(
                f"{sources[name][0]}: no activation was counted; give text of two tokens or more"
            )
    return {
        name: {"tokens": sum(part["tokens"] for part in parts), "parts": parts}
        for name, parts in counted.items()
    }


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
