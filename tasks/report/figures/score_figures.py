"""Figures of the scores: AVSS and what it is made of, traversal, and every reading's choice."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tasks.report.figures.drawing import (
    BLUE,
    EMPTY,
    GREEN,
    GREY,
    ORANGE,
    WIDTH,
    bar_floor,
    bar_from,
    bars_key,
    by_layer,
    layer_bars,
    legend_below,
    log_if_wide,
)
from tasks.report.figures.svg import tell
from tasks.report.words.wording import significant


def scores(found: Mapping[str, Any]) -> Figure:
    """Draw what AVSS is made of, the score, its share of the sum and the running sum."""
    layers, removed = found["layer_figures"], found["pruned"]["provenance"]["removed"]
    reading, site = found["scores"]["readings"][found["scores"]["chosen"]], found["site"]
    figure = Figure(figsize=(WIDTH, 6.6), layout="constrained")
    grid = figure.add_gridspec(3, 2)
    variance, share, score, part = (figure.add_subplot(grid[place // 2, place % 2]) for place in range(4))
    layer_bars(variance, layers["contribution"], removed, f"Var({site}) / Var(output)")
    variance.set(title=f"Variance of the {site}", ylabel=f"Var({site}) / Var(output)")
    layer_bars(share, [100 * value for value in layers["share_below"]], removed, "% below threshold:")
    share.set(title=f"Sparsity of the {site}", ylabel="values below threshold (%)")
    layer_bars(score, reading["scores"], removed, reading["score"])
    score.set(title=f"Score by {reading['score']}", ylabel="AVSS" if "avss" in reading["score"] else "score")
    layer_bars(part, reading["normalised"], removed, "share of the sum")
    part.set(title="Score as a share of the sum", ylabel="NAVSS")
    _running(figure.add_subplot(grid[2, :]), reading, removed)
    legend_below(figure, bars_key())
    return figure


def _running(axes: Axes, reading: Mapping[str, Any], removed: Sequence[int]) -> None:
    """Draw the running sum of the score's shares, lowest score first."""
    order = sorted(range(len(reading["scores"])), key=lambda layer: reading["scores"][layer])
    heights = [reading["cumulative"][layer] for layer in order]
    axes.plot(range(len(order)), heights, color=GREY, zorder=1)
    for gone, colour, marker in ((False, BLUE, "o"), (True, ORANGE, "X")):
        places = [place for place, layer in enumerate(order) if (layer in removed) == gone]
        points = axes.scatter(
            places, [heights[place] for place in places], c=colour, marker=marker, s=26, zorder=2
        )
        state = ", removed" if gone else ""
        tell(
            points,
            [f"layer {order[p]}{state}, rank {p + 1}\nrunning sum {significant(heights[p])}" for p in places],
        )
    log_if_wide(axes, heights)
    step = 1 + len(order) // 50  # more labels than fifty would overlap
    axes.set_xticks(range(0, len(order), step), [str(layer) for layer in order[::step]])
    axes.grid(visible=False, axis="x")
    axes.margins(x=0.02)
    axes.set(
        title="Running sum of the shares, lowest score first", xlabel="layer, in rank order", ylabel="CAVSS"
    )


def traversal(found: Mapping[str, Any]) -> Figure:
    """Draw the score beside the loss without each layer alone, with the layers that either would remove."""
    readings, chosen = found["scores"]["readings"], found["scores"]["chosen"]
    own, other = readings[chosen], readings["traversal"]
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    drawn = (
        (panels[0], own, f"Score by {chosen}: one pass over the text", "score", f"{chosen}"),
        (panels[1], other, "Traversal: loss without that layer alone", "nats per token", "loss without it"),
    )
    for axes, reading, title, unit, said in drawn:
        values = reading["scores"]
        floor = bar_floor(axes, values)
        if reading is other and not floor:  # losses differ by little: start under the lowest
            floor = min(values) - 0.15 * (max(values) - min(values))
        for layer, value in enumerate(values):
            by = [name for name, each in ((chosen, own), ("traversal", other)) if layer in each["removed"]]
            colour, hatch = _CHOSEN_BY[(chosen in by, "traversal" in by)]
            bar = bar_from(axes, layer, value, floor, colour, hatch)
            tell(
                bar,
                [
                    f"layer {layer}{', removed by ' + ' and '.join(by) if by else ''}\n"
                    f"{said} {significant(value)}"
                ],
            )
        axes.set_ylim(bottom=floor)
        axes.set(title=title, ylabel=unit)
    by_layer(panels[1])
    words = {(True, True): "both would remove", (True, False): f"{chosen} alone",
             (False, True): "traversal alone", (False, False): "kept by both"}  # fmt: skip
    legend_below(
        figure,
        [
            Patch(facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0, label=words[which])
            for which, (colour, hatch) in _CHOSEN_BY.items()
        ],
    )
    return figure


_CHOSEN_BY = {
    (True, True): (ORANGE, "////"),
    (True, False): (GREEN, "...."),
    (False, True): ("#E69F00", "\\\\\\\\"),
    (False, False): (BLUE, ""),
}


def readings(found: Mapping[str, Any]) -> Figure:
    """Draw which layers each reading removes, beside what that costs."""
    table, dense = found["scores"]["readings"], found["scores"]["dense"]["nll"]
    names = sorted(table, key=lambda name: table[name]["cost"]["nll"], reverse=True)
    depth, chosen = found["card"]["layers"], found["scores"]["chosen"]
    figure = Figure(figsize=(WIDTH, 1.0 + 0.27 * len(names)), layout="constrained")
    grid, cost = figure.subplots(1, 2, sharey=True, width_ratios=(2.1, 1))
    for row, name in enumerate(names):
        removed = table[name]["removed"]
        kept = [layer for layer in range(depth) if layer not in removed]
        for layers, colour, state in ((kept, EMPTY, "keeps"), (removed, ORANGE, "removes")):
            cells = grid.broken_barh(
                [(layer - 0.42, 0.84) for layer in layers], (row - 0.34, 0.68), color=colour
            )
            tell(cells, [f"{name}\n{state} layer {layer}" for layer in layers])
        nll, interval = table[name]["cost"]["nll"], table[name]["cost"]["interval"]
        cost.plot([interval["low"], interval["high"]], [row, row], color=GREY, lw=1.5, zorder=1)
        point = cost.scatter([nll], [row], color=ORANGE, s=28, zorder=2)
        tell(point, [f"{name}\n{nll:.3f} [{interval['low']:.3f}, {interval['high']:.3f}] nats per token"])
        said, at = f"{nll:.2f}", (max(nll, interval["high"]), row)
        cost.annotate(said, at, (5, 0), textcoords="offset points", va="center", fontsize=8)
    grid.set_yticks(range(len(names)), [f"{name} (chosen)" if name == chosen else name for name in names])
    grid.set_ylim(-0.6, len(names) - 0.4)
    for axes in (grid, cost):
        axes.grid(visible=False)
        axes.tick_params(axis="y", length=0)
    grid.spines["left"].set_visible(False)
    grid.margins(x=0.005)
    grid.set_title("Layers removed (filled)")
    by_layer(grid)
    cost.axvline(dense, color=BLUE, ls="--", lw=1)
    cost.margins(x=0.2)
    cost.set(title=f"Loss (dashed: dense, {dense:.2f})", xlabel="nats per token after removal")
    return figure
