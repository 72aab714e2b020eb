"""Figures of the question sets: models side by side, shares kept, changes by training, and its controls."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from avss_core.metrics.records import Contrast
from tasks.records import RunRecords, SetFigures
from tasks.report.figures.drawing import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    WIDTH,
    intervals,
    legend_below,
    name_rows,
    styled,
)
from tasks.report.variants import in_order, kept_rows, kept_tables, ladder, set_of
from tasks.report.words.evidence import better_text, direction
from tasks.report.words.wording import NAMES

VARIANTS = {
    "dense": (BLUE, "o"),
    "pruned": (ORANGE, "s"),
    "repaired": (PURPLE, "D"),
    "healed": (GREEN, "^"),
    "mitigated": (BLACK, "P"),
}
"""The models of a run, with colour and marker."""


@contextmanager
def set_panels(sets: Sequence[str], rows: int = 1) -> Iterator[tuple[Figure, Any]]:
    """Yield a figure with a panel for each figure of a question set, the sets down the side.

    Args:
        sets: names of the sets.
        rows: points of a set below one another.

    Yields:
        The figure and its panels.
    """
    height = 1.15 + len(sets) * (0.2 + 0.14 * rows)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(1, len(NAMES), sharey=True)
    yield figure, panels
    for axes in panels:
        name_rows(axes, sets)


def spread(count: int) -> list[float]:
    """Return where points of a row stand beside its middle, the first one on top."""
    return [0.2 * (place - (count - 1) / 2) for place in range(count)]


def compared(records: RunRecords) -> dict[str, dict[str, SetFigures]]:
    """Return the figures of each question set, by model of `VARIANTS`."""
    return {name: model["sets"] for name, model in ladder(records).items()}


def pruning(records: RunRecords) -> Figure:
    """Draw each set's figures of the dense model and the smaller ones with their intervals."""
    models = compared(records)
    sets = list(models["dense"])
    with set_panels(sets, len(models)) as (figure, panels):
        for axes, (key, label) in zip(panels, NAMES.items(), strict=True):
            for offset, (variant, values) in zip(spread(len(models)), models.items(), strict=True):
                colour, marker = VARIANTS[variant]
                entries = {name: values[name][key] for name in sets}
                intervals(
                    axes, entries, key, offset=offset, colour=colour, marker=marker, label=variant, sets=sets
                )
            axes.set(title=label, xlabel=better_text(key))
            axes.set_xlim(-0.04, 1.04)
        legend_below(figure, panels[0].get_legend_handles_labels()[0])
    return figure


def mitigation(records: RunRecords) -> Figure:
    """Draw what training changed on each set, with paired intervals around each difference."""
    return _differences({"change": records["mitigation"]["mitigated_against_base"]}, "change")


def controls(records: RunRecords) -> Figure:
    """Draw the mitigated model minus each of its controls on each set, with paired intervals."""
    against = in_order(records["mitigation"]["against_controls"])
    return _differences({f"minus {name}": sets for name, sets in against.items()}, "difference")


def _differences(series: Mapping[str, Mapping[str, Contrast]], what: str) -> Figure:
    """Draw differences by set, a panel a figure; a point is solid if its interval excludes zero."""
    sets = list(next(iter(series.values())))
    with set_panels(sets, len(series)) as (figure, panels):
        for axes, (key, label) in zip(panels, NAMES.items(), strict=True):
            axes.axvline(0, color=INK, lw=0.8)
            for offset, ((name, changes), colour, marker) in zip(
                spread(len(series)), styled(series), strict=True
            ):
                entries = {each: changes[each][key] for each in sets}
                sure = [direction(key, entry) != "same" for entry in entries.values()]
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
            axes.set(title=label, xlabel=f"{what}, {better_text(key)}")
            axes.margins(x=0.1)
            axes.xaxis.set_major_locator(MaxNLocator(3))
        if len(series) > 1:
            handles = [
                Line2D([], [], color=colour, marker=marker, ms=4.5, lw=1.4, label=name)
                for (name, _), colour, marker in styled(series)
            ]
            legend_below(figure, handles)
    return figure


def retention(records: RunRecords) -> Figure:
    """Draw what each smaller model keeps of each figure."""
    shares = kept_rows(kept_tables(records))
    rows, models = list(shares), list(next(iter(shares.values())))
    questions = records["evaluation"]["dense"]["sets"]
    sets = [set_of(name) if set_of(name) in questions else "" for name in rows]
    figure = Figure(figsize=(8, 0.95 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(1, color=INK, lw=0.8)
    axes.axvline(0.9, color=GREY, lw=0.8, ls="--")
    for offset, label in zip(spread(len(models)), models, strict=True):
        colour, marker = VARIANTS[label]
        entries, down = {name: row[label] for name, row in shares.items()}, 1.2 * offset
        intervals(
            axes, entries, "accuracy", offset=down, colour=colour, marker=marker, label=label, sets=sets
        )
    name_rows(axes, rows)
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.set_xlabel("share kept of the dense model's figure (solid: all, dashed: 0.9)")
    if len(models) > 1:
        legend_below(figure, axes.get_legend_handles_labels()[0])
    return figure
