"""Figures of answers: how well confidence is calibrated, and accuracy by the share answered."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tasks.records import RunRecords
from tasks.report.figures.drawing import GREY, WIDTH, legend_below
from tasks.report.figures.set_figures import VARIANTS, compared
from tasks.report.figures.svg import tell
from tasks.report.words.wording import NAMES, figure_text
from tasks.report.words.wording import Figure as FigureName

_HALF: tuple[FigureName, ...] = ("accuracy_at_50", "coverage_at_50")


def reliability(records: RunRecords) -> Figure:
    """Draw accuracy against confidence, one panel a set; the area of a point is its share of the answers."""
    figure, panels = _set_row(records, "confidence", "accuracy of the bin")
    models = compared(records)
    for axes, name in panels:
        axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
        for variant, sets in models.items():
            colour, marker = VARIANTS[variant]
            bins = [each for each in sets[name]["reliability"] if each["count"]]
            places = np.array([(each["confidence"], each["accuracy"]) for each in bins], float)
            across, up = places.reshape(-1, 2).T
            (line,) = axes.plot(across, up, color=colour, lw=0.8, alpha=0.5)
            sizes = [8 + 110 * each["count"] / sets[name]["n"] for each in bins]
            points = axes.scatter(across, up, s=sizes, color=colour, marker=marker, alpha=0.75, lw=0)
            tell(line, sets=[name])
            tips = [
                f"{name}, {variant}: {each['count']} answers\nconfidence {each['confidence']:.3f}, "
                f"accuracy {each['accuracy']:.3f}"
                for each in bins
            ]
            tell(points, tips, [name] * len(tips))
    return _with_legend(figure, models)


def coverage(records: RunRecords) -> Figure:
    """Draw the accuracy of the most confident share of the answers, one panel a set."""
    figure, panels = _set_row(records, "share answered", "accuracy")
    models = compared(records)
    for axes, name in panels:
        axes.axhline(0.5, color=GREY, lw=0.8, ls="--")
        axes.axvline(0.5, color=GREY, lw=0.8, ls="--")
        for variant, sets in models.items():
            colour, marker = VARIANTS[variant]
            curve = sets[name]["curve"]
            across, up = [point["coverage"] for point in curve], [point["accuracy"] for point in curve]
            (line,) = axes.plot(
                across, up, color=colour, marker=marker, markevery=max(1, len(curve) // 8), ms=3, lw=1.2
            )
            half = ", ".join(f"{NAMES[key]} {figure_text(key, sets[name][key]['value'])}" for key in _HALF)
            tell(line, [f"{name}, {variant}\n{half}"], [name])
    return _with_legend(figure, models)


def _set_row(records: RunRecords, across: str, up: str) -> tuple[Figure, Sequence[tuple[Axes, str]]]:
    """Return a figure with a square panel for each question set."""
    names = list(records["evaluation"]["dense"]["sets"])
    figure = Figure(figsize=(max(3.6, min(WIDTH, 0.5 + 2.4 * len(names))), 2.9), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        axes.set(title=name, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_xlabel(across)
    panels[0].set_ylabel(up)
    return figure, list(zip(panels, names, strict=True))


def _with_legend(figure: Figure, models: Iterable[str]) -> Figure:
    """Put one legend of the models under all panels."""
    styles = {name: VARIANTS[name] for name in models}
    keys = [
        Line2D([], [], color=colour, marker=marker, ms=4.5, lw=1, label=name)
        for name, (colour, marker) in styles.items()
    ]
    legend_below(figure, keys)
    return figure
