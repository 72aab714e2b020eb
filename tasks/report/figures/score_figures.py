"""Figures of the scores: AVSS and its parts, traversal, each reading's choice, and how sure the choice is."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from tasks.records import ComparedCost, Reading
from tasks.report.activation_figures import PageRecords
from tasks.report.figures.drawing import (
    BLUE,
    EMPTY,
    GREEN,
    GREY,
    INK,
    ORANGE,
    WIDTH,
    bar_floor,
    bar_from,
    bars_key,
    by_layer,
    layer_bars,
    legend_below,
    log_if_wide,
    name_rows,
)
from tasks.report.figures.svg import tell
from tasks.report.words.wording import significant


def scores(records: PageRecords) -> Figure:
    """Draw the variance and sparsity in AVSS, the score, its share of the sum and the running sum."""
    layers, removed = records["activations"], records["pruned"]["provenance"]["removed"]
    reading, site = records["scores"]["readings"][records["scores"]["chosen"]], layers["site"]
    figure = Figure(figsize=(WIDTH, 6.6), layout="constrained")
    grid = figure.add_gridspec(3, 2)
    variance, share, score, part = (figure.add_subplot(grid[place // 2, place % 2]) for place in range(4))
    layer_bars(variance, layers["relative_variance"], removed, f"Var({site}) / Var(output)")
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


def _running(axes: Axes, reading: Reading, removed: Sequence[int]) -> None:
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
        tips = [
            f"layer {order[p]}{state}, rank {p + 1}\nrunning sum {significant(heights[p])}" for p in places
        ]
        tell(points, tips)
    log_if_wide(axes, heights)
    step = 1 + len(order) // 50  # more labels than fifty would overlap
    axes.set_xticks(range(0, len(order), step), [str(layer) for layer in order[::step]])
    axes.grid(visible=False, axis="x")
    axes.margins(x=0.02)
    axes.set(
        title="Running sum of the shares, lowest score first", xlabel="layer, in rank order", ylabel="CAVSS"
    )


def traversal(records: PageRecords) -> Figure:
    """Draw the score beside the loss without each single layer, with the layers that either would remove."""
    readings, chosen = records["scores"]["readings"], records["scores"]["chosen"]
    own, other = readings[chosen], readings["traversal"]
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    drawn = (
        (panels[0], own, f"Score by {chosen}: one pass over the text", "score", chosen),
        (panels[1], other, "Traversal: loss without that single layer", "nats per token", "loss without it"),
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
            state = f", removed by {' and '.join(by)}" if by else ""
            tell(bar, [f"layer {layer}{state}\n{said} {significant(value)}"])
        axes.set_ylim(bottom=floor)
        axes.set(title=title, ylabel=unit)
    by_layer(panels[1])
    words = {(True, True): "both would remove", (True, False): f"{chosen} only",
             (False, True): "traversal only", (False, False): "kept by both"}  # fmt: skip
    keys = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0, label=words[which])
        for which, (colour, hatch) in _CHOSEN_BY.items()
    ]
    legend_below(figure, keys)
    return figure


_CHOSEN_BY = {
    (True, True): (ORANGE, "////"),
    (True, False): (GREEN, "...."),
    (False, True): ("#E69F00", "\\\\\\\\"),
    (False, False): (BLUE, ""),
}


def readings(records: PageRecords) -> Figure:
    """Draw which layers each reading removes, beside the loss that this leaves."""
    table, dense = records["scores"]["readings"], records["scores"]["dense"]["nll"]
    names = sorted(table, key=lambda name: table[name]["cost"]["nll"], reverse=True)
    depth, chosen = records["card"]["layers"], records["scores"]["chosen"]
    repaired = any("repaired" in reading for reading in table.values())
    figure = Figure(figsize=(WIDTH, 1.0 + (0.36 if repaired else 0.27) * len(names)), layout="constrained")
    grid, cost = figure.subplots(1, 2, sharey=True, width_ratios=(2.1, 1))
    for row, name in enumerate(names):
        removed = table[name]["removed"]
        kept = [layer for layer in range(depth) if layer not in removed]
        for layers, colour, state in ((kept, EMPTY, "keeps"), (removed, ORANGE, "removes")):
            cells = grid.broken_barh(
                [(layer - 0.42, 0.84) for layer in layers], (row - 0.34, 0.68), color=colour
            )
            tell(cells, [f"{name}\n{state} layer {layer}" for layer in layers])
        both = "repaired" in table[name]
        _point(cost, table[name]["cost"], row + 0.2 * both, name, _BEFORE)
        if both:
            _point(cost, table[name]["repaired"], row - 0.2, f"{name}, repaired", _AFTER)
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
    if repaired:
        keys = {"after removal": _BEFORE, "after a repair of what is left": _AFTER}
        legend_below(figure, [Line2D([], [], ls="", label=label, **look) for label, look in keys.items()])
    return figure


_BEFORE: Mapping[str, Any] = {"color": ORANGE, "marker": "o"}
_AFTER: Mapping[str, Any] = {"color": GREEN, "marker": "D"}


def _point(axes: Axes, cost: ComparedCost, row: float, name: str, look: Mapping[str, Any]) -> None:
    """Draw a loss with its interval and its number."""
    nll = cost["nll"]
    low, high = (cost["interval"][end] or nll for end in ("low", "high"))
    axes.plot([low, high], [row, row], color=GREY, lw=1.5, zorder=1)
    point = axes.scatter([nll], [row], s=28 if look is _BEFORE else 20, zorder=2, **look)
    tell(point, [f"{name}\n{nll:.3f} [{low:.3f}, {high:.3f}] nats per token"])
    said, at = f"{nll:.2f}", (max(nll, high), row)
    axes.annotate(said, at, (5, 0), textcoords="offset points", va="center", fontsize=8)


def stability(records: PageRecords) -> Figure:
    """Draw how often each reading removes each layer, and what less text or other texts would remove."""
    table, depth = records["scores"], records["card"]["layers"]
    stable = table["stability"]
    chosen = table["chosen"] if table["chosen"] in stable else next(iter(stable))
    texts = {f"{entry['tokens']:,} tokens": entry["removed"] for entry in stable[chosen]["sizes"]}
    texts |= {"all tokens": table["readings"][chosen]["removed"]} | stable[chosen]["sources"]
    heights = (0.3 + 0.25 * len(stable), 0.3 + 0.25 * len(texts))
    figure = Figure(figsize=(WIDTH, 0.9 + sum(heights)), layout="constrained")
    often, other = figure.subplots(2, 1, height_ratios=heights, sharex=True)
    _cells(often, {name: entry["frequency"] for name, entry in stable.items()})
    often.set_title("How often resamples of the text remove each layer (percent; solid: always)")
    _cells(
        other, {name: [float(layer in removed) for layer in range(depth)] for name, removed in texts.items()}
    )
    other.set_title(f"What {chosen} removes on less text and on other texts (filled)")
    removed = records["pruned"]["provenance"]["removed"]
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
    """Draw a cell for each row and layer; a share from 0 to 1 is its opacity."""
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
            [f"{name}\nlayer {layer} removed in {100 * share:.0f} %" for layer, share in enumerate(shares)],
        )
        for layer, share in enumerate(shares):
            if 0 < share < 1:
                axes.text(layer, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6.5)
    axes.set_xlim(-0.5, max(map(len, rows.values())) - 0.5)
    name_rows(axes, [*rows])
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
