"""The report's figures: matplotlib objects from the records of a run, written to the same bytes each time."""

import io
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tasks import answer_figures, healing_page
from tasks.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    STYLE,
    by_layer,
    intervals,
    layer_bars,
    log_if_wide,
    removed_legend,
    set_panels,
    styled,
)
from tasks.wording import LOWER_IS_BETTER, NAMES


def write_figures(found: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Write each figure as SVG and PNG, and return the SVG of each name, ready to stand inside a page."""
    folder.mkdir()
    inline = {}
    with style.context(["default", STYLE]):  # a user's own matplotlibrc plays no part
        for name, draw in DRAWINGS.items():
            if _left_out(name, found):
                continue
            figure = draw(found)
            text = io.StringIO()
            no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            figure.savefig(text, format="svg", metadata=no_metadata)
            figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
            (folder / f"{name}.svg").write_text(text.getvalue(), encoding="utf-8")
            inline[name] = _inline(text.getvalue(), name)
    return inline


def _left_out(name: str, found: Mapping[str, Any]) -> bool:
    """Tell whether a run did not measure what a figure shows."""
    healed = found["healing"]["enabled"]
    return (name == "layers" and found["evaluation"]["layers"] is None) or (name == "healing" and not healed)


def _inline(svg: str, name: str) -> str:
    """Return an SVG without its prolog, with ids that no other figure of the page has."""
    body = svg[svg.index("<svg") :]
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)


def _scores(found: Mapping[str, Any]) -> Figure:
    """Draw what AVSS is made of, the score and its running sum."""
    layers, removed = found["layer_figures"], found["pruned"]["provenance"]["removed"]
    reading = found["scores"]["readings"][found["scores"]["chosen"]]
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    (variance, share), (score, running) = figure.subplots(2, 2)
    layer_bars(variance, layers["contribution"], removed)
    variance.set(title="Variance of the update", ylabel="Var(update) / Var(output)")
    log_if_wide(variance, layers["contribution"])
    layer_bars(share, [100 * value for value in layers["share_below"]], removed)
    share.set(title="Sparsity of the update", ylabel="values below threshold (%)")
    layer_bars(score, reading["normalised"], removed)
    score.set(title=f"Score by {reading['score']}, share of the sum", ylabel="NAVSS")
    log_if_wide(score, reading["normalised"])
    order = sorted(range(len(reading["scores"])), key=lambda layer: reading["scores"][layer])
    heights = [reading["cumulative"][layer] for layer in order]
    running.plot(range(len(order)), heights, color=GREY, zorder=1)
    colours = [ORANGE if layer in removed else BLUE for layer in order]
    running.scatter(range(len(order)), heights, c=colours, s=22, zorder=2)
    log_if_wide(running, heights)
    step = 1 + len(order) // 50  # more labels than fifty would overlap
    running.set_xticks(range(0, len(order), step), order[::step], rotation=90, fontsize=7)
    running.grid(visible=False, axis="x")
    running.set(title="Running sum, lowest score first", xlabel="layer, in rank order", ylabel="CAVSS")
    removed_legend(score)
    return figure


def _readings(found: Mapping[str, Any]) -> Figure:
    """Draw which layers each reading removes, beside what that costs."""
    readings, dense = found["scores"]["readings"], found["scores"]["dense"]["nll"]
    names = sorted(readings, key=lambda name: readings[name]["cost"]["nll"], reverse=True)
    depth = found["card"]["layers"]
    figure = Figure(figsize=(10, 1.5 + 0.42 * len(names)), layout="constrained")
    grid, cost = figure.subplots(1, 2, sharey=True, width_ratios=(2.1, 1))
    for row, name in enumerate(names):
        removed = readings[name]["removed"]
        for layers, colour in ((range(depth), "#DDE1E6"), (removed, ORANGE)):
            grid.broken_barh([(layer - 0.4, 0.8) for layer in layers], (row - 0.3, 0.6), color=colour)
        nll, interval = readings[name]["cost"]["nll"], readings[name]["cost"]["interval"]
        cost.plot([interval["low"], interval["high"]], [row, row], color=GREY, lw=1.5, zorder=1)
        cost.scatter([nll], [row], color=ORANGE, s=34, zorder=2)
        said, at = f"{nll:.2f}", (max(nll, interval["high"]), row)
        cost.annotate(said, at, (6, 0), textcoords="offset points", va="center", fontsize=8)
    chosen = found["scores"]["chosen"]
    grid.set_yticks(range(len(names)), [f"{name} (chosen)" if name == chosen else name for name in names])
    grid.set_ylim(-0.7, len(names) - 0.3)
    grid.grid(visible=False)
    grid.set_title("Layers removed (filled)")
    by_layer(grid)
    cost.axvline(dense, color=BLUE, ls="--")
    cost.margins(x=0.25)
    cost.set(title=f"Loss (dashed: dense, {dense:.2f})", xlabel="nats per token after removal")
    return figure


def _activations(found: Mapping[str, Any]) -> Figure:
    """Draw variance and norms of each layer by text source, a row of panels for each site."""
    return _by_source(
        found,
        {
            "variance": "variance (squared activation)",
            "l1": "mean L1 norm of a token",
            "l2": "mean L2 norm of a token",
        },
    )


def _sparsity(found: Mapping[str, Any]) -> Figure:
    """Draw the Frobenius norm and the share of small values of each layer by text source and site."""
    labels = {"frobenius": "Frobenius norm / root of tokens", "share_below": "share below threshold"}
    return _by_source(found, labels)


def _by_source(found: Mapping[str, Any], columns: Mapping[str, str]) -> Figure:
    """Draw figures of the activations, a column for each, a row for each site, a line for each source."""
    sites = list(next(iter(found["sources"].values())))
    figure = Figure(figsize=(10, 0.6 + 2.8 * len(sites)), layout="constrained")
    panels = figure.subplots(len(sites), len(columns), squeeze=False)
    for line, site in zip(panels, sites, strict=True):
        for axes, (key, label) in zip(line, columns.items(), strict=True):
            lines = {source: values[site][key] for source, values in found["sources"].items()}
            for (source, values), colour, marker in styled(lines):
                axes.plot(values, color=colour, marker=marker, ms=3, lw=1.2, label=source)
            log_if_wide(axes, [value for values in lines.values() for value in values])
            by_layer(axes)
            axes.set(title=site, ylabel=label)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
    return figure


def _stability(found: Mapping[str, Any]) -> Figure:
    """Draw how often each layer goes, by reading, and what less text or other texts would remove."""
    scores, depth = found["scores"], found["card"]["layers"]
    stable = scores["stability"]
    chosen = scores["chosen"] if scores["chosen"] in stable else next(iter(stable))
    texts = {f"{entry['tokens']:,} tokens": entry["removed"] for entry in stable[chosen]["sizes"]}
    texts |= {"all tokens": scores["readings"][chosen]["removed"]} | stable[chosen]["sources"]
    heights = (0.6 + 0.32 * len(stable), 0.6 + 0.32 * len(texts))
    figure = Figure(figsize=(10, 0.8 + sum(heights)), layout="constrained")
    often, other = figure.subplots(2, 1, height_ratios=heights)
    shares = [entry["frequency"] for entry in stable.values()]
    # A mesh, which stays lines and areas in SVG; an image would be pixels.
    edges = ([layer - 0.5 for layer in range(depth + 1)], [row - 0.5 for row in range(len(shares) + 1)])
    often.pcolormesh(*edges, shares, cmap="Oranges", vmin=0, vmax=1, edgecolors="white", linewidth=0.8)
    often.set_ylim(len(shares) - 0.5, -0.5)
    for row, line in enumerate(shares):
        for layer, share in enumerate(line):
            if 0 < share < 1:
                said, colour = f"{100 * share:.0f}", "white" if share > 0.6 else INK
                often.text(layer, row, said, ha="center", va="center", fontsize=6, color=colour)
    often.set_yticks(range(len(stable)), list(stable))
    often.set_title(
        "How often each layer goes over resamples of the calibration text (percent; darkest: always)"
    )
    for row, removed in enumerate(texts.values()):
        for layers, colour in ((range(depth), "#DDE1E6"), (removed, ORANGE)):
            other.broken_barh([(layer - 0.4, 0.8) for layer in layers], (row - 0.3, 0.6), color=colour)
    other.set_yticks(range(len(texts)), list(texts))
    other.set_xlim(often.get_xlim())
    other.set_ylim(len(texts) - 0.5, -0.5)
    other.set_title(f"What {chosen} removes on less text and on other texts (filled)")
    for axes in (often, other):
        axes.grid(visible=False)
        by_layer(axes)
    return figure


def _pruning(found: Mapping[str, Any]) -> Figure:
    """Draw each set's figures of the dense and the pruned model with their intervals."""
    variants = {
        "dense": found["evaluation"]["dense"]["sets"],
        "pruned": found["evaluation"]["pruned"]["sets"],
    }
    sets = list(variants["dense"])
    with set_panels(sets) as (figure, panels):
        for axes, (key, label) in zip(panels, NAMES.items(), strict=True):
            for offset, (variant, values), colour, marker in zip(
                (-0.14, 0.14), variants.items(), (BLUE, ORANGE), "os", strict=True
            ):
                entries = [values[name][key] for name in sets]
                intervals(axes, entries, offset, colour, [colour] * len(sets), marker, variant)
            axes.set(title=label, xlabel="lower is better" if key in LOWER_IS_BETTER else "higher is better")
            axes.set_xlim(-0.04, 1.04)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _mitigation(found: Mapping[str, Any]) -> Figure:
    """Draw what training changed on each set, with paired intervals around each difference."""
    changes = found["mitigation"]["mitigated_against_base"]
    sets = list(changes)
    with set_panels(sets) as (figure, panels):
        for axes, (key, label) in zip(panels, NAMES.items(), strict=True):
            entries = [changes[name][key] for name in sets]
            fills = [GREEN if entry["low"] > 0 or entry["high"] < 0 else "white" for entry in entries]
            axes.axvline(0, color=INK, lw=0.8)
            intervals(axes, entries, 0, GREEN, fills, "o", "change")
            axes.set(
                title=label,
                xlabel="change, " + ("lower" if key in LOWER_IS_BETTER else "higher") + " is better",
            )
            axes.margins(x=0.1)
            axes.xaxis.set_major_locator(MaxNLocator(3))
    return figure


def _eavss(found: Mapping[str, Any]) -> Figure:
    """Draw EAVSS of each layer with its interval, sets and sources, and the probe that looks from outside."""
    record = found["localization"]
    reading = record["readings"][record["reading"]]
    depth = range(len(reading["values"]))
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    score, probe = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for (name, part), colour, _ in styled(record["sets"]):
        score.plot(depth, part[record["reading"]]["values"], color=colour, lw=0.9, alpha=0.75, label=name)
    for (name, part), dashes in zip(record["sources"].items(), ("--", ":"), strict=False):
        score.plot(depth, part[record["reading"]]["values"], color=INK, ls=dashes, label=f"{name} answers")
    score.fill_between(
        depth, reading["low"], reading["high"], color=GREY, alpha=0.28, lw=0, label="95 % interval"
    )
    score.plot(depth, reading["values"], color=INK, lw=2, label="all answers")
    trained = found["mitigation"]["training"]["dense_layers"]
    score.scatter(
        trained,
        [reading["values"][layer] for layer in trained],
        color=ORANGE,
        s=34,
        zorder=3,
        label="trained",
    )
    score.axhline(0, color=INK, lw=0.8)
    score.set(title=record["reading"], ylabel="nats" if record["reading"] == "eavss_contrast" else "score")
    score.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    auroc = [math.nan if value is None else value for value in record["probe_auroc"]]
    probe.plot(depth, auroc, color=PURPLE, marker="o", ms=3.5)
    probe.axhline(0.5, color=INK, lw=0.8, ls="--")
    probe.set(title="Linear probe, validation questions (dashed: chance)", ylabel="AUROC")
    by_layer(probe)
    return figure


def _training(found: Mapping[str, Any]) -> Figure:
    """Draw the losses of each epoch."""
    history = found["mitigation"]["training"]["history"]
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    epochs = [epoch["epoch"] for epoch in history]
    for key, label, colour, marker in (
        ("train_loss", "train", BLUE, "o"), ("validation_loss", "validation", ORANGE, "s"),
    ):  # fmt: skip
        axes.plot(epochs, [epoch[key] for epoch in history], color=colour, marker=marker, label=label)
    axes.set_xticks(epochs)
    axes.set(xlabel="epoch", ylabel="loss (nats)")
    axes.legend()
    return figure


DRAWINGS: Mapping[str, Callable[[Mapping[str, Any]], Figure]] = {
    "scores": _scores,
    "readings": _readings,
    "stability": _stability,
    "activations": _activations,
    "sparsity": _sparsity,
    "pruning": _pruning,
    "retention": answer_figures.retention,
    "reliability": answer_figures.reliability,
    "coverage": answer_figures.coverage,
    "layers": answer_figures.layers,
    "healing": healing_page.losses,
    "eavss": _eavss,
    "training": _training,
    "mitigation": _mitigation,
}
