"""The style of the report's figures, and the parts that several of them share."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from avss_core.metrics.records import Entry
from tasks.report.figures.svg import tell
from tasks.report.words.wording import significant, with_interval

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # Okabe and Ito, colour-blind safe
BLACK = "#111111"  # an SVG does not name the fill of #000000, so a page could not change it
SERIES = (BLUE, "#E69F00", GREEN, PURPLE, "#56B4E9", BLACK, ORANGE)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY, INK, EMPTY = "#8A9099", "#20262E", "#DDE1E6"

STYLE: dict[str, Any] = {
    "svg.hashsalt": "avss",  # else every run draws other element ids
    "svg.fonttype": "none",
    "text.parse_math": False,  # a set may be named with a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E8EB",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.constrained_layout.w_pad": 0.06,
    "figure.constrained_layout.h_pad": 0.05,
}

WIDTH = 10.0
"""Inches of a figure that is as wide as the page's text."""


def layer_bars(axes: Axes, values: Sequence[float], removed: Sequence[int], said: str = "") -> None:
    """Draw one bar a layer, removed layers in another colour and hatched; `said` names the value."""
    floor = bar_floor(axes, values)
    for layer, value in enumerate(values):
        gone = layer in removed
        bar = bar_from(axes, layer, value, floor, ORANGE if gone else BLUE, "////" if gone else "")
        tell(bar, [f"layer {layer}{', removed' if gone else ''}\n{said} {significant(value)}"])
    axes.set_ylim(bottom=floor)
    by_layer(axes)


def bar_floor(axes: Axes, values: Sequence[float]) -> float:
    """Return where bars start: at zero or the lowest value, below it if the axis becomes logarithmic."""
    axes.grid(visible=False, axis="x")
    return 0.6 * min(values) if log_if_wide(axes, values) else min(0.0, *values)


def bar_from(axes: Axes, layer: int, value: float, floor: float, colour: str, hatch: str) -> Artist:
    """Draw the bar of a layer from a floor that is inside the axes, and return it."""
    (bar,) = axes.bar(
        [layer], [value - floor], bottom=floor, color=colour, hatch=hatch, edgecolor="white", linewidth=0
    )
    artist: Artist = bar
    return artist


def by_layer(axes: Axes) -> None:
    """Label an axis with whole layer numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("layer")


def shade_removed(axes: Axes, removed: Sequence[int]) -> None:
    """Shade the layers that were removed, with a triangle under each so that it needs no colour."""
    for layer in removed:
        axes.axvspan(layer - 0.5, layer + 0.5, color=ORANGE, alpha=0.13, lw=0, zorder=0)
    axes.plot(
        removed,
        [0] * len(removed),
        transform=axes.get_xaxis_transform(),
        ls="",
        marker="^",
        ms=3.5,
        color=ORANGE,
        clip_on=False,
        zorder=5,
    )


def removed_key() -> list[Any]:
    """Return the legend's entry for shaded layers."""
    return [Line2D([], [], ls="", marker="^", ms=4, color=ORANGE, label="layer removed (shaded)")]


def bars_key() -> list[Any]:
    """Return the legend's entries for the colours of bars by layer."""
    return [
        Patch(facecolor=BLUE, label="kept"),
        Patch(facecolor=ORANGE, hatch="////", edgecolor="white", linewidth=0, label="removed"),
    ]


def legend_below(figure: Figure, handles: Sequence[Any], columns: int = 8) -> None:
    """Put one legend under all panels."""
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, min(columns, len(handles))))


def log_if_wide(axes: Axes, values: Sequence[float]) -> bool:
    """Use a logarithmic axis if positive values span more than a factor of thirty; tell whether."""
    wide = min(values) > 0 and max(values) > 30 * min(values)
    if wide:
        axes.set_yscale("log")
        near = max(values) < 300 * min(values)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if near else (1,)))
        axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    return wide


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Label rows from the top down, without marks and grid lines between them."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def styled(lines: Mapping[str, Any]) -> Iterator[tuple[tuple[str, Any], str, str]]:
    """Yield each line with its colour and marker, in turn."""
    for index, item in enumerate(lines.items()):
        yield item, SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]


def intervals(
    axes: Axes,
    entries: Mapping[str, Entry],
    figure: str,
    *,
    offset: float = 0.0,
    colour: str,
    filled: Sequence[bool] | None = None,
    marker: str,
    label: str,
    sets: Sequence[str] = (),
) -> None:
    """Draw one point with its interval a row; a value of None is left out.

    Args:
        axes: the panel.
        entries: name of the row -> figure.
        figure: name of the figure, for its unit.
        offset: distance of a point below the middle of its row.
        colour: of points and lines.
        filled: whether each point is solid; None: all are.
        marker: form of the points.
        label: the series, in the legend and in the text of a mark.
        sets: the question set of each row, "" for none.
    """
    solid = filled or [True] * len(entries)
    rows = enumerate(zip(entries.items(), solid, strict=True))
    known = [(row, name, entry, fill) for row, ((name, entry), fill) in rows if entry["value"] is not None]
    places = [row + offset for row, *_ in known]
    value, low, high = (
        np.array([[e["value"], e["low"], e["high"]] for _, _, e, _ in known], float).reshape(-1, 3).T
    )
    lines = axes.hlines(places, low, high, color=colour, lw=1.4)
    points = axes.scatter(
        value,
        places,
        c=[colour if fill else "white" for *_, fill in known],
        edgecolors=colour,
        marker=marker,
        s=22,
        zorder=3,
        label=label,
    )
    of = [sets[row] for row, *_ in known] if sets else []
    tips = [f"{name}, {label}\n{with_interval(figure, e)}" for _, name, e, _ in known]
    tell(lines, sets=of)
    tell(points, tips, of)
