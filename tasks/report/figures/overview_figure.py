"""The first picture of a run: which layers went, were refitted or trained, and what each model keeps."""

import textwrap
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from avss_core.metrics.records import Entry
from tasks.records import RunRecords
from tasks.report.figures.drawing import GREY, INK, ORANGE, WIDTH, intervals, name_rows
from tasks.report.figures.set_figures import VARIANTS
from tasks.report.figures.svg import tell
from tasks.report.touched import STEPS, touched
from tasks.report.variants import kept_rows, rungs
from tasks.report.words.evidence import few_kept
from tasks.report.words.headline import CLAIM
from tasks.report.words.opening import PARTS
from tasks.report.words.wording import figure_text, listed

PANELS = {
    "text": "Text: loss, dense over own",
    "answers": "Answers: accuracy, mean of sets",
    "sentiment": "Sentiment: accuracy",
}
"""The title of the panel of each of `opening.PARTS`."""

NARROW = 3.75
"""Inches of the picture for a screen of 390 pixels."""

_ALL: Entry = {"value": 1.0, "low": 1.0, "high": 1.0}
_SLOTS = {"repaired": 0.76, "healed": 0.48, "mitigated": 0.2}
"""Place of the mark of a step in the cell of a layer, from the bottom."""


def overview(records: RunRecords) -> Figure:
    """Draw the layers as a strip, and below it the three panels of the ladder side by side."""
    return _drawn(records, WIDTH, cells=40, columns=len(PANELS))


def overview_narrow(records: RunRecords) -> Figure:
    """Draw the same for a narrow screen: a strip of several lines, the panels below one another."""
    return _drawn(records, NARROW, cells=15, columns=1)


def _drawn(records: RunRecords, width: float, *, cells: int, columns: int) -> Figure:
    """Draw the picture with at most so many layers a line, and so many panels beside one another."""
    lines = -(-records["card"]["layers"] // cells)
    tables = rungs(records)
    keys, wide = _keys(records), columns > 1
    strip = 0.1 + (0.62 if wide else 0.52) * lines + 0.2 * (1 if wide else len(keys))
    rows, panel = -(-len(PANELS) // columns), 0.65 + 0.21 * (1 + len(tables))
    figure = Figure(figsize=(width, strip + panel * rows), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=[strip, panel * rows])
    above, below = halves
    strip_axes = above.subplots()
    _strip(strip_axes, records, -(-records["card"]["layers"] // lines), size=28 if wide else 16)
    strip_axes.set_xlim(0, max(strip_axes.get_xlim()[1], cells / 2))  # a shallow model has no wider cells
    above.legend(
        handles=keys, loc="outside lower left", ncols=4 if wide else 1, borderpad=0, handletextpad=0.5,
        columnspacing=1.6, labelspacing=0.3,
    )  # fmt: skip
    shares, unsaid = kept_rows(tables), few_kept(tables["pruned"])
    panels = below.subplots(rows, columns, sharey=True, squeeze=False).flat
    for axes, (part, title) in zip(panels, PANELS.items(), strict=True):
        name = PARTS[part]
        _panel(axes, {"dense": _ALL, **shares[name]}, unsaid.get(name, ""))
        axes.set_title(title)
        name_rows(axes, ["dense", *(row_name(model, records) for model in tables)])
    for axes in below.axes[-columns:]:
        axes.set_xlabel("share kept of the dense model's")
    return figure


def row_name(model: str, records: RunRecords) -> str:
    """Return the name of a model on the ladder; the trained one says what it was if it is no further step."""
    base = records["mitigation"]["base"]
    last = [name for name in rungs(records) if name != "mitigated"][-1]
    return f"{base}, mitigated" if model == "mitigated" and base != last else model


def _strip(axes: Axes, records: RunRecords, per_line: int, *, size: float) -> None:
    """Draw a numbered cell for each layer: hatched if it went, with a mark for each step that changed it."""
    depth, steps = records["card"]["layers"], touched(records)
    used = [name for name in _SLOTS if name in steps]
    for layer in range(depth):
        line, column = divmod(layer, per_line)
        done = [STEPS[name] for name, layers in steps.items() if layer in layers]
        gone = layer in steps["removed"]
        cell = Rectangle(
            (column + 0.06, -1.5 * line), 0.88, 1, facecolor=ORANGE if gone else "white",
            hatch="////" if gone else "", edgecolor="white" if gone else GREY, linewidth=0 if gone else 0.8,
        )  # fmt: skip
        axes.add_patch(cell)
        tell(cell, [f"layer {layer}: {', '.join(done) or 'unchanged'}"])
        axes.text(
            column + 0.5, 1.08 - 1.5 * line, str(layer), ha="center", va="bottom", fontsize=7, color=INK
        )
    for name in used:
        colour, marker = VARIANTS[name]
        places = [divmod(layer, per_line) for layer in steps[name]]
        axes.scatter(
            [column + 0.5 for _, column in places], [_SLOTS[name] - 1.5 * line for line, _ in places],
            color=colour, marker=marker, s=size, linewidths=0.6, edgecolors="white", zorder=3,
        )  # fmt: skip
    axes.set(xlim=(0, per_line), ylim=(-1.5 * ((depth - 1) // per_line) - 0.05, 1.5))
    axes.set_axis_off()


def _keys(records: RunRecords) -> list[Any]:
    """Return the legend of the strip: what was done to how many layers."""
    steps = touched(records)
    keys: list[Any] = []
    for name, layers in steps.items():
        label = f"{STEPS[name]}: {len(layers)}"
        if name == "removed":
            label += f" of {records['card']['layers']}"
            keys.append(Patch(facecolor=ORANGE, hatch="////", edgecolor="white", linewidth=0, label=label))
            continue
        colour, marker = VARIANTS[name]
        label += f" of the {records['mitigation']['base']} model" if name == "mitigated" else ""
        keys.append(Line2D([], [], ls="", color=colour, marker=marker, ms=5, label=label))
    return keys


def _panel(axes: Axes, shares: Mapping[str, Entry], unsaid: str) -> None:
    """Draw one share of every model with its interval and its number, or why it says nothing."""
    axes.axvline(1, color=INK, lw=0.8)
    axes.axvline(CLAIM, color=GREY, lw=1.4, ls="--")
    for row, (model, entry) in enumerate(shares.items()):
        colour, marker = VARIANTS[model]
        intervals(axes, {model: entry}, "accuracy", offset=row, colour=colour, marker=marker, label="kept")
        if entry["value"] is not None:
            place = (max(entry["value"], entry["high"] or 0.0), row)
            said = figure_text("accuracy", entry["value"])
            # A ground of its own, so that no line runs through the number.
            ground = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
            axes.annotate(
                said, place, (6, 0), textcoords="offset points", va="center", fontsize=8, bbox=ground
            )
    if unsaid:
        text = textwrap.fill(unsaid, 34)
        axes.text(0.03, 0.04, text, transform=axes.transAxes, fontsize=7.5, color=INK)
    axes.set_xlim(min(0.0, axes.get_xlim()[0]), max(1.3, axes.get_xlim()[1] + 0.25))
    axes.set_xticks([0, 0.5, CLAIM], ["0", "50 %", f"{100 * CLAIM:.0f} %"])


def picture_words(records: RunRecords) -> str:
    """Return what the picture shows, for those who do not see it."""
    steps, tables = touched(records), rungs(records)
    strip = "; ".join(f"{STEPS[name]}: {listed(layers)}" for name, layers in steps.items())
    shares, unsaid = kept_rows(tables), few_kept(tables["pruned"])
    ladder = "; ".join(
        f"{part}: {unsaid.get(name) or _ladder_words(shares[name], records)}" for part, name in PARTS.items()
    )
    depth = records["card"]["layers"]
    return f"A strip of {depth} layers. {strip}. Below it, shares kept of the dense model. {ladder}."


def _ladder_words(shares: Mapping[str, Entry], records: RunRecords) -> str:
    """Return the share of each model."""
    return ", ".join(
        f"{row_name(model, records)} {figure_text('accuracy', entry['value'])}"
        for model, entry in shares.items()
    )
