"""Figures of the question sets: models side by side, what is kept, what training changed and its controls."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from tasks.report.figures.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    WIDTH,
    intervals,
    legend_below,
    styled,
)
from tasks.report.words.control_wording import in_order
from tasks.report.words.evidence import LOWER_IS_BETTER
from tasks.report.words.wording import NAMES, retentions

VARIANTS = {"dense": (BLUE, "o"), "pruned": (ORANGE, "s"), "healed": (GREEN, "^")}
"""The models that are compared, with colour and marker."""


@contextmanager
def set_panels(sets: Sequence[str], rows: int = 1) -> Iterator[tuple[Figure, Any]]:
    """Yield a figure with a panel for each figure of a question set, the sets down the side.

    `rows` is how many points of a set stand below one another.
    """
    height = 1.15 + len(sets) * (0.2 + 0.14 * rows)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(1, len(NAMES), sharey=True)
    yield figure, panels
    panels[0].set_yticks(range(len(sets)), sets)
    panels[0].set_ylim(len(sets) - 0.5, -0.5)
    for axes in panels:
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)


def spread(count: int) -> list[float]:
    """Return where points of a row stand beside its middle, the first one on top."""
    return [0.2 * (place - (count - 1) / 2) for place in range(count)]


def variants(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of each model of `VARIANTS` that a run measured, by question set."""
    models = {name: found["evaluation"][name]["sets"] for name in ("dense", "pruned")}
    if found["healing"]["enabled"]:
        models["healed"] = found["healing"]["healed"]["sets"]
    return models


def pruning(found: Mapping[str, Any]) -> Figure:
    """Draw each set's figures of the dense model and the smaller ones with their intervals."""
    models = variants(found)
    sets = list(models["dense"])
    with set_panels(sets, len(models)) as (figure, panels):
        for axes, (key, label) in zip(panels, NAMES.items(), strict=True):
            for offset, (variant, values) in zip(spread(len(models)), models.items(), strict=True):
                colour, marker = VARIANTS[variant]
                entries = {name: values[name][key] for name in sets}
                intervals(
                    axes, entries, key, offset=offset, colour=colour, marker=marker, label=variant, sets=sets
                )
            axes.set(title=label, xlabel="lower is better" if key in LOWER_IS_BETTER else "higher is better")
            axes.set_xlim(-0.04, 1.04)
        legend_below(figure, panels[0].get_legend_handles_labels()[0])
    return figure


def mitigation(found: Mapping[str, Any]) -> Figure:
    """Draw what training changed on each set, with paired intervals around each difference."""
    return _differences({"change": found["mitigation"]["mitigated_against_base"]}, "change")


def controls(found: Mapping[str, Any]) -> Figure:
    """Draw the mitigated model minus each of its controls on each set, with paired intervals."""
    against = in_order(found["mitigation"]["against_controls"])
    return _differences({f"minus {name}": sets for name, sets in against.items()}, "difference")


def _differences(series: Mapping[str, Any], what: str) -> Figure:
    """Draw differences by set, a panel a figure; a point is solid where its interval leaves zero out."""
    sets = list(next(iter(series.values())))
    with set_panels(sets, len(series)) as (figure, panels):
        for axes, (key, label) in zip(panels, NAMES.items(), strict=True):
            axes.axvline(0, color=INK, lw=0.8)
            for offset, ((name, changes), colour, marker) in zip(
                spread(len(series)), styled(series), strict=True
            ):
                entries = {each: changes[each][key] for each in sets}
                sure = [e["value"] is not None and (e["low"] > 0 or e["high"] < 0) for e in entries.values()]
                intervals(
                    axes,
                    entries,
                    key,
                    offset=offset,
                    colour=colour,
                    filled=sure,
                    marker=marker,
                    label=name,
                    sets=sets,
                )
            better = "lower" if key in LOWER_IS_BETTER else "higher"
            axes.set(title=label, xlabel=f"{what}, {better} is better")
            axes.margins(x=0.1)
            axes.xaxis.set_major_locator(MaxNLocator(3))
        if len(series) > 1:
            handles = [
                Line2D([], [], color=colour, marker=marker, ms=4.5, lw=1.4, label=name)
                for (name, _), colour, marker in styled(series)
            ]
            legend_below(figure, handles)
    return figure


def retention(found: Mapping[str, Any]) -> Figure:
    """Draw what the pruned model, and the healed one where there is one, keep of each figure."""
    tables = {"pruned": found["evaluation"]["retention"]}
    if found["healing"]["enabled"]:
        tables["healed"] = found["healing"]["retention"]["after"]
    rows = [name for name, _ in retentions(tables["pruned"])]
    questions = found["evaluation"]["dense"]["sets"]
    figure = Figure(figsize=(8, 0.95 + 0.29 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(1, color=INK, lw=0.8)
    axes.axvline(0.9, color=GREY, lw=0.8, ls="--")
    of = [name.rpartition(", ")[0] for name in rows]
    for offset, (label, table) in zip(spread(len(tables)), tables.items(), strict=True):
        colour, marker = VARIANTS[label]
        entries = dict(retentions(table))
        intervals(
            axes, entries, "accuracy", offset=1.4 * offset, colour=colour, marker=marker, label=label,
            sets=[name if name in questions else "" for name in of],
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.set_xlabel("share kept of the dense model's figure (solid: all, dashed: 0.9)")
    if len(tables) > 1:
        legend_below(figure, axes.get_legend_handles_labels()[0])
    return figure
