"""The ladder: what the dense, the pruned, the repaired and the healed model keep, at one look."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avss_core.metrics.records import Entry
from tasks.records import RunRecords
from tasks.report.figures.drawing import GREY, INK, WIDTH, intervals, name_rows
from tasks.report.figures.set_figures import VARIANTS
from tasks.report.variants import MEAN, kept_rows, kept_tables
from tasks.report.words.evidence import few_kept
from tasks.report.words.headline import CLAIM
from tasks.report.words.wording import figure_text

PANELS = {
    "language modelling, NLL": "Text: loss, dense over own",
    MEAN: "Answers: accuracy, mean of the sets",
    "sentiment, accuracy": "Sentiment: accuracy",
}
"""The shares kept that are drawn, by their names in `variants.retentions`, and the title of each panel."""

_ALL: Entry = {"value": 1.0, "low": 1.0, "high": 1.0}


def ladder(records: RunRecords) -> Figure:
    """Draw the share that each model keeps of the dense one's text, answers and sentiment, a row a model."""
    tables = kept_tables(records)
    rows, unsaid = kept_rows(tables), few_kept(tables["pruned"])
    figure = Figure(figsize=(WIDTH, 0.95 + 0.3 * (1 + len(tables))), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(1, len(PANELS), sharey=True), PANELS.items(), strict=True):
        _panel(axes, {"dense": _ALL, **rows[name]}, unsaid.get(name, ""))
        axes.set(title=title, xlabel="share kept of the dense model's (dashed: 90 %)")
    return figure


def _panel(axes: Axes, shares: Mapping[str, Entry], unsaid: str) -> None:
    """Draw one share of every model with its interval and its number, or why it says nothing."""
    axes.axvline(1, color=INK, lw=0.8)
    axes.axvline(CLAIM, color=GREY, lw=1.2, ls="--")
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
        axes.text(0.03, 0.04, unsaid, transform=axes.transAxes, fontsize=7.5, color=INK)
    name_rows(axes, list(shares))
    axes.set_xlim(min(0.0, axes.get_xlim()[0]), max(1.3, axes.get_xlim()[1] + 0.25))
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
