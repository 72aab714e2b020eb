"""What tasks of lm-evaluation-harness say of a model and of a change, as JSON holds them.

None stands for a figure without a value, and for an interval where the harness adds samples up in a way that
`avss_core.metrics.sample_figures` does not know.
"""

from typing import TypedDict

from avss_core.metrics.records import Entry


class TaskFigure(Entry):
    """A figure as the harness gives it, with its 95 % bootstrap interval over samples."""

    higher_is_better: bool
    chance: float | None
    """What guessing among the choices would reach; None where there are none."""


class TaskFigures(TypedDict):
    """The figures of one model on a task or group, by the harness's name of the metric and filter."""

    n: int
    """Documents that were asked."""
    shots: int | None
    """None of a group."""
    version: str
    figures: dict[str, TaskFigure]


class KeptFigure(TypedDict):
    """What one model keeps of another's figure."""

    retention: Entry
    """After / before, or before / after where lower is better."""
    retention_over_chance: Entry | None
    """(after - chance) / (before - chance); None where there is no chance."""


class TaskComparison(TypedDict):
    """One model beside another on the same questions, by figure."""

    change: dict[str, Entry]
    """After minus before."""
    kept: dict[str, KeptFigure]


class ModelOnTasks(TypedDict):
    """What one model of a run makes of the tasks of its settings."""

    figures: dict[str, TaskFigures]
    against_dense: dict[str, TaskComparison] | None
    """None of the dense model."""
