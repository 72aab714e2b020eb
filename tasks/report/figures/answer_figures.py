"""Figures of answers: calibration, selective accuracy, and what each layer would say."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tasks.report.figures.drawing import (
    GREY,
    WIDTH,
    by_layer,
    legend_below,
    removed_key,
    shade_removed,
    styled,
)
from tasks.report.figures.set_figures import VARIANTS, variants
from tasks.report.figures.svg import tell
from tasks.report.words.evidence import LOWER_IS_BETTER
from tasks.report.words.wording import NAMES, figure_text, interval_text


def reliability(found: Mapping[str, Any]) -> Figure:
    """Draw accuracy against confidence, a panel a set; the area of a point is its share of the answers."""
    figure, panels = _set_row(found, "confidence", "accuracy of the bin")
    models = variants(found)
    for axes, name in panels:
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
        for variant, sets in models.items():
            colour, marker = VARIANTS[variant]
            record = sets[name]
            bins = [each for each in record["reliability"] if each["count"]]
            across, up = ([each[key] for each in bins] for key in ("confidence", "accuracy"))
            (line,) = axes.plot(across, up, color=colour, lw=0.8, alpha=0.5)
            sizes = [8 + 110 * each["count"] / record["n"] for each in bins]
            points = axes.scatter(across, up, s=sizes, color=colour, marker=marker, alpha=0.75, lw=0)
            tell(line, sets=[name])
            tips = [
                f"{name}, {variant}: {each['count']} answers\nconfidence {each['confidence']:.3f}, "
                f"accuracy {each['accuracy']:.3f}"
                for each in bins
            ]
            tell(points, tips, [name] * len(tips))
    return _with_legend(figure, models)


def coverage(found: Mapping[str, Any]) -> Figure:
    """Draw the accuracy of the most confident share of the answers, a panel a set."""
    figure, panels = _set_row(found, "share answered", "accuracy")
    models = variants(found)
    for axes, name in panels:
        axes.axhline(0.5, color=GREY, lw=0.8, ls="--")
        axes.axvline(0.5, color=GREY, lw=0.8, ls="--")
        for variant, sets in models.items():
            colour, marker = VARIANTS[variant]
            curve = sets[name]["curve"]
            across, up = ([point[key] for point in curve] for key in ("coverage", "accuracy"))
            (line,) = axes.plot(
                across, up, color=colour, marker=marker, markevery=max(1, len(curve) // 8), ms=3, lw=1.2
            )
            half = {
                key: figure_text(key, sets[name][key]["value"])
                for key in ("accuracy_at_50", "coverage_at_50")
            }
            tell(
                line,
                [f"{name}, {variant}\n" + ", ".join(f"{NAMES[key]} {text}" for key, text in half.items())],
                [name],
            )
    return _with_legend(figure, models)


def layers(found: Mapping[str, Any]) -> Figure:
    """Draw the figures of the answers read out at each layer, one line a set; removed layers are shaded."""
    record = found["evaluation"]["layers"]
    depths = record["layers"]
    figure = Figure(figsize=(WIDTH, 4.9), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True).flat
    shown = [key for key in NAMES if key in next(iter(record["sets"].values()))]
    for axes, key in zip(panels, shown, strict=True):
        shade_removed(axes, found["pruned"]["provenance"]["removed"])
        for (name, values), colour, marker in styled(record["sets"]):
            known = [
                (layer, e) for layer, e in zip(depths, values[key], strict=True) if e["value"] is not None
            ]
            across, up = [layer for layer, _ in known], [entry["value"] for _, entry in known]
            (line,) = axes.plot(across, up, color=colour, marker=marker, ms=3.4, lw=1, label=name)
            tips = [
                f"{name}, behind layer {layer}\n"
                f"{figure_text(key, entry['value'])} {interval_text(key, entry)}"
                for layer, entry in known
            ]
            tell(line, tips, [name])
        better = "lower" if key in LOWER_IS_BETTER else "higher"
        axes.set(title=NAMES[key], ylabel=f"{better} is better", ylim=(-0.03, 1.03))
        by_layer(axes)
        axes.tick_params(labelbottom=True)
    for axes in figure.axes[:2]:
        axes.set_xlabel("")
    legend_below(figure, [*figure.axes[0].get_legend_handles_labels()[0], *removed_key()])
    return figure


def _set_row(found: Mapping[str, Any], across: str, up: str) -> tuple[Figure, Sequence[tuple[Axes, str]]]:
    """Return a figure with a square panel for each question set."""
    names = list(found["evaluation"]["dense"]["sets"])
    figure = Figure(figsize=(max(3.6, min(WIDTH, 0.5 + 2.4 * len(names))), 2.9), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        axes.set(title=name, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_xlabel(across)
    panels[0].set_ylabel(up)
    return figure, list(zip(panels, names, strict=True))


def _with_legend(figure: Figure, models: Mapping[str, Any]) -> Figure:
    """Put one legend under all panels."""
    styles = {name: VARIANTS[name] for name in models}
    legend_below(
        figure,
        [
            Line2D([], [], color=colour, marker=marker, ms=4.5, lw=1, label=name)
            for name, (colour, marker) in styles.items()
        ],
    )
    return figure
