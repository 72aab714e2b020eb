"""What the report's figures are drawn with: one style, and the parts that several share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from tasks.wording import NAMES

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # Okabe and Ito, colour-blind safe
SERIES = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY, INK = "#8A9099", "#20262E"

STYLE: dict[str, Any] = {
    "svg.hashsalt": "avss",  # else every run draws other element ids
    "svg.fonttype": "none",
    "text.parse_math": False,  # a set may be named with a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E8EB",
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
}


def layer_bars(axes: Axes, values: Sequence[float], removed: Sequence[int]) -> None:
    """Draw one bar a layer, those removed in another colour and hatched."""
    bars = axes.bar(
        range(len(values)), values, color=[ORANGE if i in removed else BLUE for i in range(len(values))]
    )
    for layer in removed:
        bars[layer].set(hatch="////", edgecolor="white", linewidth=0)
    axes.grid(visible=False, axis="x")
    by_layer(axes)


def by_layer(axes: Axes) -> None:
    """Label an axis with whole layer numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("layer")


def removed_legend(axes: Axes) -> None:
    """Say what the colours of the layers mean."""
    axes.bar([0], [0], color=BLUE, label="kept")
    axes.bar([0], [0], color=ORANGE, hatch="////", edgecolor="white", linewidth=0, label="removed")
    axes.legend(fontsize=8, loc="upper center", ncols=2)


def log_if_wide(axes: Axes, values: Sequence[float]) -> None:
    """Use a logarithmic axis where positive values span more than a factor of thirty."""
    if min(values) > 0 and max(values) > 30 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())


def styled(lines: Mapping[str, Any]) -> Iterator[tuple[tuple[str, Any], str, str]]:
    """Yield each line with its colour and marker, in turn."""
    for index, item in enumerate(lines.items()):
        yield item, SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]


@contextmanager
def set_panels(sets: Sequence[str]) -> Iterator[tuple[Figure, Any]]:
    """Yield a figure with a panel for each figure of a question set, the sets down the side."""
    figure = Figure(figsize=(10, 1.4 + 0.42 * len(sets)), layout="constrained")
    panels = figure.subplots(1, len(NAMES), sharey=True)
    yield figure, panels
    panels[0].set_yticks(range(len(sets)), sets)
    panels[0].set_ylim(len(sets) - 0.5, -0.5)


def intervals(
    axes: Axes,
    entries: Sequence[Any],
    offset: float,
    colour: str,
    fills: Sequence[str],
    marker: str,
    label: str,
) -> None:
    """Draw one point with its interval a row; a value that does not exist is left out."""
    known = [
        (row + offset, entry, fill)
        for row, (entry, fill) in enumerate(zip(entries, fills, strict=True))
        if entry["value"] is not None
    ]
    rows = [row for row, _, _ in known]
    axes.hlines(rows, [e["low"] for _, e, _ in known], [e["high"] for _, e, _ in known], color=colour, lw=1.6)
    axes.scatter(
        [e["value"] for _, e, _ in known],
        rows,
        c=[f for _, _, f in known],
        edgecolors=colour,
        marker=marker,
        s=26,
        zorder=3,
        label=label,
    )
