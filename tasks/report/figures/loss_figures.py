"""Figures of trainings: the loss of each step and each validation against the number of train tokens."""

from itertools import accumulate
from typing import Any

from matplotlib.figure import Figure

from tasks.records import RunRecords, TrainingRecord
from tasks.report.figures.drawing import BLUE, ORANGE
from tasks.report.figures.svg import tell


def healing(records: RunRecords) -> Figure:
    """Draw the losses of healing, in nats per token."""
    return _losses(records["healing"]["training"], "loss (nats per token)")


def training(records: RunRecords) -> Figure:
    """Draw the losses of the training of the most prone layers: the whole objective, in nats."""
    return _losses(records["mitigation"]["training"], "loss (nats)")


def _losses(record: TrainingRecord, unit: str) -> Figure:
    """Draw the loss of each step and each validation."""
    tokens = list(accumulate(step["tokens"] for step in record["steps"]))
    train = [(at, step["loss"]) for at, step in zip(tokens, record["steps"], strict=True)]
    held_out = [(tokens[epoch["step"] - 1], epoch["validation_loss"]) for epoch in record["history"]]
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    looks: dict[str, dict[str, Any]] = {
        "train, each step": {"color": BLUE, "lw": 0.9, "marker": ".", "ms": 2.5},
        "validation": {"color": ORANGE, "lw": 1.2, "marker": "s", "ms": 5},
    }
    for (label, look), points in zip(looks.items(), (train, held_out), strict=True):
        (line,) = axes.plot(*zip(*points, strict=True), label=label, **look)
        tell(line, [f"{label}, {at:,} tokens\n{loss:.3f} nats" for at, loss in points])
    axes.set(xlabel="train tokens", ylabel=unit, xlim=(0, None))
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:,.0f}")
    axes.legend()
    return figure
