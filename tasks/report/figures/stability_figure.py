"""Figure of how sure the choice of layers is."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tasks.report.figures.drawing import EMPTY, INK, ORANGE, WIDTH, by_layer
from tasks.report.figures.svg import tell


def stability(found: Mapping[str, Any]) -> Figure:
    """Draw how often each layer goes, by reading, and what less text or other texts would remove."""
    table, depth = found["scores"], found["card"]["layers"]
    stable = table["stability"]
    chosen = table["chosen"] if table["chosen"] in stable else next(iter(stable))
    texts = {f"{entry['tokens']:,} tokens": entry["removed"] for entry in stable[chosen]["sizes"]}
    texts |= {"all tokens": table["readings"][chosen]["removed"]} | stable[chosen]["sources"]
    heights = (0.3 + 0.25 * len(stable), 0.3 + 0.25 * len(texts))
    figure = Figure(figsize=(WIDTH, 0.9 + sum(heights)), layout="constrained")
    often, other = figure.subplots(2, 1, height_ratios=heights, sharex=True)
    _cells(often, {name: entry["frequency"] for name, entry in stable.items()})
    often.set_title("How often each layer goes over resamples of the text (percent; solid: always)")
    _cells(
        other, {name: [float(layer in removed) for layer in range(depth)] for name, removed in texts.items()}
    )
    other.set_title(f"What {chosen} removes on less text and on other texts (filled)")
    removed = found["pruned"]["provenance"]["removed"]
    for axes in (often, other):
        axes.plot(
            removed,
            [axes.get_ylim()[0] + 0.1] * len(removed),
            ls="",
            marker="^",
            ms=4,
            color=INK,
            clip_on=False,
        )
        axes.xaxis.set_tick_params(labelbottom=True, length=0, pad=7)
        by_layer(axes)
    often.set_xlabel("")
    return figure


def _cells(axes: Axes, rows: Mapping[str, Sequence[float]]) -> None:
    """Draw a share between 0 and 1 a row and layer as a cell, the fuller of colour the greater it is."""
    for row, (name, shares) in enumerate(rows.items()):
        cells = [Rectangle((layer - 0.46, row - 0.42), 0.92, 0.84) for layer in range(len(shares))]
        # The share is the opacity, so that a page may lay the cells on any ground.
        back = PatchCollection(cells, facecolor=EMPTY, linewidth=0, alpha=0.45)
        front = PatchCollection(
            cells, facecolor=ORANGE, linewidth=0, alpha=[0.85 * share for share in shares]
        )
        axes.add_collection(back)
        axes.add_collection(front)
        tell(
            front,
            [f"{name}\nlayer {layer} goes in {100 * share:.0f} %" for layer, share in enumerate(shares)],
        )
        for layer, share in enumerate(shares):
            if 0 < share < 1:
                axes.text(layer, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6.5)
    axes.set_xlim(-0.5, max(map(len, rows.values())) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
