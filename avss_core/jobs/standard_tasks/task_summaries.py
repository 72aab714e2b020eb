"""What runs of tasks add up to: figures with intervals, changes between models, and what is kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avss_core.jobs.standard_tasks.task_records import KeptFigure, TaskComparison, TaskFigure, TaskFigures
from avss_core.jobs.standard_tasks.task_runs import TaskRun
from avss_core.metrics.records import Entry
from avss_core.metrics.sample_figures import SampleColumn, change_of, kept_of, with_interval

CHOSEN = ("acc", "acc_norm", "acc_bytes")
"""Metrics of a choice, which guessing gets right now and then."""

_NO_INTERVAL: Entry = {"value": None, "low": None, "high": None}


@dataclass(frozen=True)
class Measured:
    """One figure of a task on one model."""

    value: float
    """As the harness gives it."""
    higher_is_better: bool
    chance: float | None
    questions: tuple[str, ...]
    """Digest of each question, in the order of the column."""
    column: SampleColumn | None
    """None if the harness adds the samples up in a way that resamples do not follow."""


@dataclass(frozen=True)
class MeasuredTask:
    """A task or group on one model."""

    n: int
    shots: int | None
    version: str
    figures: Mapping[str, Measured]


def measured_tasks(runs: Sequence[TaskRun]) -> dict[str, MeasuredTask]:
    """Return the figures of all tasks and groups of the runs of one model, as the harness gives them.

    A figure is named like the metric, and like the metric and the filter where there is one. A group has the
    columns of its tasks one behind the other where its figure is what they add up to together.
    """
    return {
        name: MeasuredTask(
            n=_documents(run.results, name),
            shots=run.results["n-shot"].get(name) if name in run.samples else None,
            version=str(run.results["versions"].get(name, "N/A")),
            figures=dict(_figures(run, name, figures)),
        )
        for run in runs
        for name, figures in run.results["results"].items()
    }


def task_figures(tasks: Mapping[str, MeasuredTask], seed: int) -> dict[str, TaskFigures]:
    """Return the figures of one model by task, each with its interval."""
    return {
        name: {
            "n": task.n,
            "shots": task.shots,
            "version": task.version,
            "figures": {figure: _entry(each, seed) for figure, each in task.figures.items()},
        }
        for name, task in tasks.items()
    }


def compare_tasks(
    before: Mapping[str, MeasuredTask], after: Mapping[str, MeasuredTask], seed: int
) -> dict[str, TaskComparison]:
    """Return one model beside another by task, with paired intervals.

    Raises:
        ValueError: the models were not asked the same questions; names the task.
    """
    return {name: _comparison(name, before[name], task, seed) for name, task in after.items()}


def _comparison(name: str, before: MeasuredTask, after: MeasuredTask, seed: int) -> TaskComparison:
    """Return the change of each figure, and what is kept of it."""
    found: TaskComparison = {"change": {}, "kept": {}}
    for figure, own in after.figures.items():
        base = before.figures[figure]
        if base.questions != own.questions:
            raise ValueError(f"{name}: the models were not asked the same questions; run both anew")
        if base.column is None or own.column is None:
            found["change"][figure] = {**_NO_INTERVAL, "value": own.value - base.value}
            continue
        found["change"][figure] = change_of(base.column, own.column, seed)
        higher = own.higher_is_better
        sides = (base.column, own.column)
        kept: KeptFigure = {
            "retention": kept_of(*sides, higher_is_better=higher, seed=seed),
            "retention_over_chance": None,
        }
        if own.chance is not None:
            over = kept_of(*sides, higher_is_better=higher, chance=own.chance, seed=seed)
            kept["retention_over_chance"] = over
        found["kept"][figure] = kept
    return found


def _figures(run: TaskRun, name: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, Measured]]:
    """Yield each figure of a task or group."""
    leaves = [name] if name in run.samples else _leaves(run.results["group_subtasks"], name)
    for key, value in figures.items():
        metric, _, rule = key.partition(",")
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or metric.endswith("_stderr")
            or not rule
        ):
            continue  # the alias, the number of samples, errors
        rows = [
            row for leaf in leaves for row in run.samples[leaf] if row["filter"] == rule and metric in row
        ]
        kinds = {run.results["avss"]["kinds"][leaf].get(metric) for leaf in leaves}
        column = _column(kinds, [row[metric] for row in rows], float(value))
        yield (
            metric if rule == "none" else f"{metric},{rule}",
            Measured(
                value=float(value),
                higher_is_better=bool(run.results["higher_is_better"].get(name, {}).get(metric, True)),
                chance=_chance(run, leaves, rows) if metric in CHOSEN else None,
                questions=tuple(row["doc_hash"] for row in rows),
                column=column,
            ),
        )


def _column(kinds: set[str | None], samples: Sequence[Any], value: float) -> SampleColumn | None:
    """Return the column of a figure, None if it does not add up to the figure."""
    if len(kinds) != 1 or None in kinds or not samples:
        return None
    try:
        column = SampleColumn.of(str(next(iter(kinds))), samples)
    except (TypeError, ValueError):
        return None  # a metric of the user's that gives something else than numbers
    return column if np.isclose(column.value, value, rtol=1e-6, atol=1e-9) else None


def _chance(run: TaskRun, leaves: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return what guessing would reach: the mean of 1 / choices; None where there are no choices."""
    kinds = {run.results["configs"][leaf].get("output_type") for leaf in leaves}
    if kinds != {"multiple_choice"} or not rows:
        return None
    # The mutual information asks for each choice a second time.
    choices = [len(row["arguments"]) // (1 + ("acc_mutual_info" in row["metrics"])) for row in rows]
    return float(np.mean([1 / count for count in choices]))


def _leaves(subtasks: Mapping[str, Sequence[str]], group: str) -> list[str]:
    """Return the tasks of a group, however deep."""
    return [leaf for name in subtasks.get(group, ()) for leaf in (_leaves(subtasks, name) or [name])]


def _documents(results: Mapping[str, Any], name: str) -> int:
    """Return how many documents a task or group asked."""
    counts = results["n-samples"]
    leaves = [name] if name in counts else _leaves(results["group_subtasks"], name)
    return sum(int(counts[leaf]["effective"]) for leaf in leaves if leaf in counts)


def _entry(measured: Measured, seed: int) -> TaskFigure:
    """Return a figure with its interval."""
    found = with_interval(measured.column, seed) if measured.column is not None else _NO_INTERVAL
    return {
        "value": measured.value,
        "low": found["low"],
        "high": found["high"],
        "higher_is_better": measured.higher_is_better,
        "chance": measured.chance,
    }
