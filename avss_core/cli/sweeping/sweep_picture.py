"""The picture of a sweep: the loss of each score's choices, before and after the repair."""

import io
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from avss_core.sweep.sweep_records import SweepPoint, SweepRecord

SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#111111", "#D55E00")  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

STYLE: dict[str, Any] = {
    "svg.hashsalt": "avss",  # else every run draws other element ids
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E8EB",
    "legend.frameon": False,
}

TITLES = {"pruned": "removed", "repaired": "removed and repaired in closed form"}


def sweep_svg(record: SweepRecord, model: str, chosen: SweepPoint | None = None) -> str:
    """Return the picture as SVG; equal sweeps give equal text.

    A line is a score, a bar the 95 % interval of the change from the dense model, a ring the knee of a line.

    Args:
        record: the sweep.
        model: its name, for the title.
        chosen: the point that answers, marked by a star.
    """
    kinds = list(dict.fromkeys(point["model"] for point in record["points"]))
    with rc_context(STYLE):  # type: ignore[arg-type]  # the keys of a plain dict are not known
        figure = Figure(figsize=(5.2 * len(kinds), 3.8), layout="constrained")
        for axes, kind in zip(
            figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0], kinds, strict=True
        ):
            points = [point for point in record["points"] if point["model"] == kind]
            _panel(axes, points, record["dense"]["nll"], chosen if chosen in points else None)
            axes.set_title(TITLES[kind], loc="left", fontsize=9, fontweight="bold")
        figure.axes[0].set_ylabel("loss on held-out text (nats per token)")
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        figure.suptitle(f"{model}: loss against the number of layers removed", x=0.01, ha="left")
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return text.getvalue()


def _panel(axes: Axes, points: Sequence[SweepPoint], dense: float, chosen: SweepPoint | None) -> None:
    """Draw the curves before or after the repair."""
    axes.axhline(dense, color="#8A9099", lw=1, ls="--", label="dense model")
    for index, (score, group) in enumerate(groupby(points, key=lambda point: point["score"])):
        colour, own = SERIES[index % len(SERIES)], list(group)
        counts = [0, *(point["removed_layers"] for point in own)]
        losses = [dense, *(point["loss"] for point in own)]
        axes.plot(
            counts, losses, color=colour, marker=MARKERS[index % len(MARKERS)], ms=4, lw=1.2, label=score
        )
        # The interval is of the change, so it starts from the dense model's loss.
        low, high = ([dense + (point["change"][end] or 0.0) for point in own] for end in ("low", "high"))
        axes.vlines(counts[1:], low, high, color=colour, lw=1)
        for point in own:
            if point["knee"]:
                _mark(axes, point, "o", colour)
    if chosen is not None:
        _mark(axes, chosen, "*", "#111111")
    axes.set_xlabel("layers removed")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _mark(axes: Axes, point: SweepPoint, marker: str, colour: str) -> None:
    """Draw a large hollow mark around a point."""
    axes.plot(
        [point["removed_layers"]],
        [point["loss"]],
        marker=marker,
        ms=13,
        mfc="none",
        mec=colour,
        ls="",
        lw=1.2,
    )
