"""The models of a run on the standard tasks of its settings: rows for the page, Markdown and CSV."""

from collections.abc import Iterator
from dataclasses import dataclass

from avss_core.jobs.standard_tasks.task_records import ModelOnTasks, TaskFigure
from avss_core.metrics.records import Entry
from tasks.records import RunRecords


@dataclass(frozen=True)
class TaskRow:
    """One figure of a task on all models that were asked it."""

    task: str
    figure: str
    """The harness's name of the metric, and of the filter where there is one."""
    n: int
    """Documents that were asked."""
    values: dict[str, TaskFigure]
    """By model, the dense one first."""
    kept: dict[str, Entry | None]
    """Share kept of the dense model's figure, by model; None where the harness's samples give none."""


def models_on_tasks(records: RunRecords) -> dict[str, ModelOnTasks]:
    """Return what each model of a run made of the tasks; empty if the settings name none."""
    healed = records["healing"].get("tasks")
    return {**records["evaluation"].get("tasks", {}), **({"healed": healed} if healed else {})}


def task_rows(records: RunRecords) -> list[TaskRow]:
    """Return a row for each task and figure."""
    return list(_rows(models_on_tasks(records)))


def _rows(models: dict[str, ModelOnTasks]) -> Iterator[TaskRow]:
    for task, first in models["dense"]["figures"].items() if models else ():
        for figure in first["figures"]:
            kept = {
                name: each["against_dense"][task]["kept"].get(figure)
                for name, each in models.items()
                if each["against_dense"]
            }
            yield TaskRow(
                task,
                figure,
                first["n"],
                {name: each["figures"][task]["figures"][figure] for name, each in models.items()},
                {name: entry and entry["retention"] for name, entry in kept.items()},
            )
