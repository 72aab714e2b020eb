"""Run tasks of lm-evaluation-harness on a checkpoint, and keep every answer in a folder."""

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.api.registry import get_aggregation
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable

from avss_core.caching.loaded_model import model_at
from avss_core.caching.unit import unit_key
from avss_core.display.steps import working
from avss_core.files.digests import digest_json, digest_path
from avss_core.files.writing import folder_written_whole, read_json, write_text
from avss_core.jobs.standard_tasks.shown_model import ShownModel
from avss_core.metrics.sample_figures import TRANSFORMS
from avss_core.models.room import BatchSize

RESULTS = "results.json"
"""The file of a run in the harness's layout; `avss` in it holds what the harness does not write."""


@dataclass(frozen=True)
class Asking:
    """How tasks are asked, the same of every model."""

    manager: TaskManager
    include: Path | None
    limit: int | None
    batch_size: BatchSize
    chat: bool
    dtype: str
    device: str


@dataclass(frozen=True)
class TaskRun:
    """What one task, group or tag gave on one model."""

    results: Mapping[str, Any]
    """In the harness's layout."""
    samples: Mapping[str, Sequence[Mapping[str, Any]]]
    """By task, a record for each question and filter, as the harness logs them."""


def run_task(name: str, model: Path, folder: Path, asking: Asking, label: str) -> TaskRun:
    """Return what a model makes of a task; a finished run that the folder holds is not repeated.

    A folder named like the task holds `results.json` and `samples_TASK.jsonl`. It is used again if the
    checkpoint, the questions, the user's task files, the settings, the code and the libraries are those it
    was made with, and its files are what was written.

    Args:
        name: of a task, group or tag that the manager knows.
        model: a checkpoint folder.
        folder: of this model; what is in the folder of the task is replaced unless it is used.
        asking: how it is asked.
        label: of the bar.

    Raises:
        ValueError: the model's tokenizer has no chat template, and one is asked for.
    """
    folder /= _plain(name)
    with working(f"reading {name}"):
        loaded = asking.manager.load([name])
    key = _key(name, model, loaded["tasks"], asking)
    kept = _kept(folder, key)
    if kept is not None:
        return kept
    network, tokenizer = model_at(model, asking.dtype, asking.device)
    if asking.chat and not tokenizer.chat_template:
        raise ValueError(
            f"the tokenizer of {model} has no chat template; set evaluate.chat to false or take a chat model"
        )
    lm = ShownModel(network, tokenizer, asking.batch_size, f"{label}: {name}")
    _as_by_hand(loaded["tasks"])
    found = evaluate(
        lm,
        loaded,
        limit=asking.limit,
        bootstrap_iters=0,  # of a perplexity it makes 100,000, and there are intervals of our own
        apply_chat_template=asking.chat,
        fewshot_as_multiturn=True,
    )
    kinds = {task: _kinds(loaded["tasks"][task].aggregation()) for task in found["samples"]}
    with folder_written_whole(folder, replace=True) as part:
        samples = found.pop("samples")
        for task, rows in samples.items():
            write_text(part / _file(task), "".join(f"{_json(row)}\n" for row in rows))
        files = {_file(task): digest_path(part / _file(task)) for task in samples}
        asked = {name: getattr(asking, name) for name in ("limit", "batch_size", "dtype", "device")}
        own = {"key": key, "kinds": kinds, "files": files, "tasks": list(samples)}
        results = {**found, "config": {"model": label, **asked}, "avss": own}
        write_text(part / RESULTS, _json(results, indent=2) + "\n")
    return _read(folder)


def _as_by_hand(tasks: Mapping[str, Any]) -> None:
    """Set what `lm_eval.simple_evaluate` sets before it evaluates.

    That function also lists the whole environment, which takes as long as a small task.
    """
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    torch.manual_seed(DEFAULT_OTHER_SEED)
    for task in tasks.values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)


def _kinds(aggregations: Mapping[str, Any]) -> dict[str, str]:
    """Return how each metric adds up, of those that resamples can follow."""
    names = {get_aggregation(name): name for name in TRANSFORMS}
    return {metric: names[how] for metric, how in aggregations.items() if how in names}


def _key(name: str, model: Path, tasks: Mapping[str, Any], asking: Asking) -> str:
    """Return the name of a result: from all that it depends on."""
    questions = {task: digest_json([_json(doc) for doc in each.eval_docs]) for task, each in tasks.items()}
    return unit_key(
        "standard-task",
        __name__,
        {
            "name": name,
            "model": model,
            "include": [asking.include] if asking.include else [],
            "questions": questions,
            "limit": asking.limit,
            "batch_size": asking.batch_size,
            "chat": asking.chat,
            "dtype": asking.dtype,
            "device": asking.device,
        },
    )


def _kept(folder: Path, key: str) -> TaskRun | None:
    """Return the run that a folder holds, None if it is of something else or not what was written."""
    try:
        own = read_json(folder / RESULTS)["avss"]
        whole = own["key"] == key and all(
            digest_path(folder / file) == digest for file, digest in own["files"].items()
        )
        return _read(folder) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read(folder: Path) -> TaskRun:
    """Return the run that a folder holds, as it was written."""
    results = read_json(folder / RESULTS)
    samples = {
        task: [json.loads(line) for line in (folder / _file(task)).read_text("utf-8").split("\n")[:-1]]
        for task in results["avss"]["tasks"]
    }
    return TaskRun(results, samples)


def _file(task: str) -> str:
    """Return the name of the file of a task's samples."""
    return f"samples_{_plain(task)}.jsonl"


def _plain(name: str) -> str:
    """Return a task's name as that of a file."""
    return re.sub(r"[^\w.-]", "_", name)


def _json(value: Any, indent: int | None = None) -> str:
    """Return what the harness holds as it writes it: what JSON does not know becomes text."""
    return json.dumps(value, indent=indent, default=handle_non_serializable, ensure_ascii=False)
