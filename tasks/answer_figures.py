"""Figures of answers: calibration, selective accuracy, what each layer would say, and what was kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.drawing import BLUE, GREEN, GREY, INK, ORANGE, by_layer, intervals, styled
from tasks.wording import LOWER_IS_BETTER, NAMES, retentions

_VARIANTS = (("dense", BLUE, "o"), ("pruned", ORANGE, "s"))


def reliability(found: Mapping[str, Any]) -> Figure:
    """Draw accuracy against confidence, a panel a set; the area of a point is its share of the answers."""
    figure, panels = _set_row(found, "confidence of the bin (mean)", "accuracy of the bin")
    for axes, name in panels:
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
        for variant, colour, marker in _VARIANTS:
            record = found["evaluation"][variant]["sets"][name]
            bins = [each for each in record["reliability"] if each["count"]]
            axes.plot(
                [each["confidence"] for each in bins],
                [each["accuracy"] for each in bins],
                color=colour,
                lw=0.8,
                alpha=0.6,
            )
            axes.scatter(
                [each["confidence"] for each in bins],
                [each["accuracy"] for each in bins],
                s=[8 + 120 * each["count"] / record["n"] for each in bins],
                color=colour,
                marker=marker,
                alpha=0.8,
                label=variant,
            )
    return _with_legend(figure)


def coverage(found: Mapping[str, Any]) -> Figure:
    """Draw the accuracy of the most confident share of the answers, a panel a set."""
    figure, panels = _set_row(found, "share of the answers, most confident first", "accuracy")
    for axes, name in panels:
        axes.axhline(0.5, color=GREY, lw=0.8, ls="--")
        axes.axvline(0.5, color=GREY, lw=0.8, ls="--")
        for variant, colour, _ in _VARIANTS:
            curve = found["evaluation"][variant]["sets"][name]["curve"]
            axes.plot(
                [point["coverage"] for point in curve],
                [point["accuracy"] for point in curve],
                color=colour,
                lw=1.4,
                label=variant,
            )
    return _with_legend(figure)


def layers(found: Mapping[str, Any]) -> Figure:
    """Draw the figures of the answers read out at each layer, one line a set; removed layers are shaded."""
    record = found["evaluation"]["layers"]
    depths = record["layers"]
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True).flat
    shown = [key for key in NAMES if key in next(iter(record["sets"].values()))]
    for axes, key in zip(panels, shown, strict=True):
        for layer in found["pruned"]["provenance"]["removed"]:
            axes.axvspan(layer - 0.5, layer + 0.5, color=ORANGE, alpha=0.15, lw=0)
        for (name, values), colour, marker in styled(record["sets"]):
            line = [entry["value"] for entry in values[key]]
            axes.plot(depths, line, color=colour, marker=marker, ms=3, lw=1, label=name)
        better = "lower" if key in LOWER_IS_BETTER else "higher"
        axes.set(title=NAMES[key], ylabel=f"{better} is better", ylim=(-0.03, 1.03))
        by_layer(axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=max(1, len(labels)))
    return figure


def retention(found: Mapping[str, Any]) -> Figure:
    """Draw what the pruned model, and the healed one where there is one, keep of each figure."""
    tables = {"pruned": (found["evaluation"]["retention"], ORANGE, "s")}
    if found["healing"]["enabled"]:
        tables["healed"] = (found["healing"]["retention"]["after"], GREEN, "^")
    rows = [name for name, _ in retentions(found["evaluation"]["retention"])]
    figure = Figure(figsize=(8, 0.9 + 0.32 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(1, color=INK, lw=0.8)
    axes.axvline(0.9, color=GREY, lw=0.8, ls="--")
    for place, (label, (table, colour, marker)) in enumerate(tables.items()):
        entries = [entry for _, entry in retentions(table)]
        offset = 0.28 * (place - (len(tables) - 1) / 2)
        intervals(axes, entries, offset, colour, [colour] * len(rows), marker, label)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.set_xlabel("share kept of the dense model's figure (dashed: 0.9)")
    if len(tables) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _set_row(found: Mapping[str, Any], across: str, up: str) -> tuple[Figure, Sequence[tuple[Axes, str]]]:
    """Return a figure with a square panel for each question set."""
    names = list(found["evaluation"]["dense"]["sets"])
    figure = Figure(figsize=(max(4.0, 2.1 * len(names)), 2.9), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        axes.set(title=name, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    figure.supxlabel(across, fontsize=9)
    panels[0].set_ylabel(up)
    return figure, list(zip(panels, names, strict=True))


def _with_legend(figure: Figure) -> Figure:
    """Put the legend of the first panel above all of them."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2)
    return figure
