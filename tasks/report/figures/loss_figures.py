"""Figures of trainings: the loss of each step and each validation against the tokens learnt from."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from matplotlib.figure import Figure

from tasks.report.figures.drawing import BLUE, ORANGE
from tasks.report.figures.svg import tell


def healing(found: Mapping[str, Any]) -> Figure:
    """Draw the losses of healing, in nats a token."""
    return _losses(found["healing"]["training"], "loss (nats per token)")


def training(found: Mapping[str, Any]) -> Figure:
    """Draw the losses of the training of the most prone layers: the whole objective, in nats."""
    return _losses(found["mitigation"]["training"], "loss (nats)")


def _losses(record: Mapping[str, Any], unit: str) -> Figure:
    steps, history = record["steps"], record["history"]
    tokens = list(accumulate(step["tokens"] for step in steps))
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    train = [(at, step["loss"]) for at, step in zip(tokens, steps, strict=True)]
    held_out = [(tokens[epoch["step"] - 1], epoch["validation_loss"]) for epoch in history]
    looks: dict[str, Any] = {"color": BLUE, "lw": 0.9, "marker": ".", "ms": 2.5}
    held_out_looks: dict[str, Any] = {"color": ORANGE, "lw": 1.2, "marker": "s", "ms": 5}
    for label, points, look in (
        ("train, each step", train, looks),
        ("validation", held_out, held_out_looks),
    ):
        (line,) = axes.plot(*zip(*points, strict=True), label=label, **look)
        tell(line, [f"{label}, {at:,} tokens\n{loss:.3f} nats" for at, loss in points])
    axes.set(xlabel="train tokens", ylabel=unit, xlim=(0, None))
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:,.0f}")
    axes.legend()
    return figure
