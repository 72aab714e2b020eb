"""The report's figures: matplotlib objects from the records of a run, written to the same bytes each time."""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tasks.wording import LOWER_IS_BETTER, NAMES

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # Okabe and Ito, colour-blind safe
SERIES = (BLUE, ORANGE, GREEN, PURPLE, "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY, INK = "#8A9099", "#20262E"

_STYLE: dict[str, Any] = {
    "svg.hashsalt": "avss",  # else every run draws other element ids
    "svg.fonttype": "none",
    "text.parse_math": False,  # a set may be named with a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E8EB",
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
}


def write_figures(found: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Write each figure as SVG and PNG, and return the SVG of each name, ready to stand inside a page."""
    folder.mkdir()
    inline = {}
    with mpl.rc_context(_STYLE):
        for name, draw in DRAWINGS.items():
            figure = draw(found)
            text = io.StringIO()
            no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            figure.savefig(text, format="svg", metadata=no_metadata)
            figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
            (folder / f"{name}.svg").write_text(text.getvalue(), encoding="utf-8")
            inline[name] = _inline(text.getvalue(), name)
    return inline


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
    _layer_bars(variance, layers["relative_variance"], removed)
    variance.set(title="Variance of the update", ylabel="Var(update) / Var(input)")
    _layer_bars(share, [100 * value for value in layers["share_below"]], removed)
    share.set(title="Sparsity of the update", ylabel="values below threshold (%)")
    _layer_bars(score, reading["normalised"], removed)
    score.set(title=f"Score by {reading['score']}, share of the sum", ylabel="NAVSS")
    order = sorted(range(len(reading["scores"])), key=lambda layer: reading["scores"][layer])
    heights = [reading["cumulative"][layer] for layer in order]
    running.plot(range(len(order)), heights, color=GREY, zorder=1)
    colours = [ORANGE if layer in removed else BLUE for layer in order]
    running.scatter(range(len(order)), heights, c=colours, s=22, zorder=2)
    _log_if_wide(running, heights)
    running.set_xticks(range(len(order)), [str(layer) for layer in order], rotation=90, fontsize=7)
    running.set(title="Running sum, lowest score first", xlabel="layer, in rank order", ylabel="CAVSS")
    _removed_legend(score)
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
        grid.scatter(range(depth), [row] * depth, marker="s", s=34, color="#DDE1E6", linewidths=0)
        grid.scatter(removed, [row] * len(removed), marker="s", s=34, color=ORANGE, linewidths=0)
        nll = readings[name]["cost"]["nll"]
        cost.plot([dense, nll], [row, row], color=GREY, lw=1.5, zorder=1)
        cost.scatter([nll], [row], color=ORANGE, s=34, zorder=2)
        cost.annotate(f"{nll:.2f}", (nll, row), (6, 0), textcoords="offset points", va="center", fontsize=8)
    chosen = found["scores"]["chosen"]
    grid.set_yticks(range(len(names)), [f"{name} (chosen)" if name == chosen else name for name in names])
    grid.set_ylim(-0.7, len(names) - 0.3)
    grid.grid(visible=False)
    grid.set(title="Layers removed (filled)", xlabel="layer")
    grid.xaxis.set_major_locator(MaxNLocator(integer=True))
    cost.axvline(dense, color=BLUE, ls="--", label=f"dense {dense:.2f}")
    cost.margins(x=0.18)
    cost.set(title="Loss after removal", xlabel="nats per token")
    cost.legend(loc="lower right", fontsize=8)
    return figure


def _activations(found: Mapping[str, Any]) -> Figure:
    """Draw variance and norms of each layer by text source, a row of panels for each site."""
    sites = list(next(iter(found["sources"].values())))
    rows = {"variance": "variance", "l1": "mean L1 norm of a token", "l2": "mean L2 norm of a token"}
    figure = Figure(figsize=(10, 0.6 + 2.8 * len(sites)), layout="constrained")
    panels = figure.subplots(len(sites), len(rows), squeeze=False)
    for line, site in zip(panels, sites, strict=True):
        for axes, (key, label) in zip(line, rows.items(), strict=True):
            lines = {source: values[site][key] for source, values in found["sources"].items()}
            for (source, values), colour, marker in _styled(lines):
                axes.plot(values, color=colour, marker=marker, ms=3, lw=1.2, label=source)
            _log_if_wide(axes, [value for values in lines.values() for value in values])
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set(
                title=f"{site}: {label}", xlabel="layer", ylabel="squared activation" * (key == "variance")
            )
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
    return figure


def _pruning(found: Mapping[str, Any]) -> Figure:
    """Draw each set's figures of the dense and the pruned model with their intervals."""
    variants = {
        "dense": found["evaluation"]["dense"]["sets"],
        "pruned": found["evaluation"]["pruned"]["sets"],
    }
    sets = list(variants["dense"])
    with _set_panels(sets) as (figure, panels):
        for axes, (key, label) in zip(panels, NAMES.items(), strict=True):
            for offset, (variant, values), colour, marker in zip(
                (-0.14, 0.14), variants.items(), (BLUE, ORANGE), "os", strict=True
            ):
                entries = [values[name][key] for name in sets]
                _intervals(axes, entries, offset, colour, [colour] * len(sets), marker, variant)
            axes.set(title=label, xlabel="lower is better" if key in LOWER_IS_BETTER else "higher is better")
            axes.set_xlim(-0.04, 1.04)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _mitigation(found: Mapping[str, Any]) -> Figure:
    """Draw what training changed on each set, with paired intervals around each difference."""
    changes = found["mitigation"]["mitigated_against_base"]
    sets = list(changes)
    with _set_panels(sets) as (figure, panels):
        for axes, (key, label) in zip(panels, NAMES.items(), strict=True):
            entries = [changes[name][key] for name in sets]
            fills = [GREEN if entry["low"] > 0 or entry["high"] < 0 else "white" for entry in entries]
            axes.axvline(0, color=INK, lw=0.8)
            _intervals(axes, entries, 0, GREEN, fills, "o", "change")
            axes.set(
                title=label,
                xlabel="change, " + ("lower" if key in LOWER_IS_BETTER else "higher") + " is better",
            )
            axes.margins(x=0.1)
    return figure


def _eavss(found: Mapping[str, Any]) -> Figure:
    """Draw EAVSS of each layer with its interval, and the probe that looks from outside."""
    record = found["localization"]
    reading = record["readings"][record["reading"]]
    depth = range(len(reading["values"]))
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    score, probe = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for (name, values), colour, _ in _styled(record["sets"]):
        score.plot(depth, values, color=colour, lw=0.9, alpha=0.75, label=name)
    score.fill_between(
        depth, reading["low"], reading["high"], color=GREY, alpha=0.28, lw=0, label="95 % interval"
    )
    score.plot(depth, reading["values"], color=INK, lw=2, label="all sets")
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
    probe.plot(depth, record["probe_auroc"], color=PURPLE, marker="o", ms=3.5)
    probe.axhline(0.5, color=INK, lw=0.8, ls="--")
    probe.set(title="Linear probe, validation questions (dashed: chance)", xlabel="layer", ylabel="AUROC")
    probe.xaxis.set_major_locator(MaxNLocator(integer=True))
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
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="loss (nats)")
    axes.legend()
    return figure


DRAWINGS: Mapping[str, Callable[[Mapping[str, Any]], Figure]] = {
    "scores": _scores,
    "readings": _readings,
    "activations": _activations,
    "pruning": _pruning,
    "eavss": _eavss,
    "training": _training,
    "mitigation": _mitigation,
}


def _layer_bars(axes: Axes, values: Sequence[float], removed: Sequence[int]) -> None:
    """Draw one bar a layer, those removed in another colour and hatched."""
    bars = axes.bar(
        range(len(values)), values, color=[ORANGE if i in removed else BLUE for i in range(len(values))]
    )
    for layer in removed:
        bars[layer].set(hatch="////", edgecolor="white", linewidth=0)
    _log_if_wide(axes, values)
    axes.grid(visible=False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("layer")


def _removed_legend(axes: Axes) -> None:
    """Say what the colours of the layers mean."""
    axes.bar([0], [0], color=BLUE, label="kept")
    axes.bar([0], [0], color=ORANGE, hatch="////", edgecolor="white", linewidth=0, label="removed")
    axes.legend(fontsize=8, loc="upper center", ncols=2)


def _log_if_wide(axes: Axes, values: Sequence[float]) -> None:
    """Use a logarithmic axis where positive values span more than a factor of thirty."""
    if min(values) > 0 and max(values) > 30 * min(values):
        axes.set_yscale("log")


def _styled(lines: Mapping[str, Any]) -> Iterator[tuple[tuple[str, Any], str, str]]:
    """Yield each line with its colour and marker, in turn."""
    for index, item in enumerate(lines.items()):
        yield item, SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]


@contextmanager
def _set_panels(sets: Sequence[str]) -> Iterator[tuple[Figure, Any]]:
    """Yield a figure with a panel for each figure of a question set, the sets down the side."""
    figure = Figure(figsize=(10, 1.4 + 0.42 * len(sets)), layout="constrained")
    panels = figure.subplots(1, len(NAMES), sharey=True)
    yield figure, panels
    panels[0].set_yticks(range(len(sets)), sets)
    panels[0].set_ylim(len(sets) - 0.5, -0.5)


def _intervals(
    axes: Axes,
    entries: Sequence[Any],
    offset: float,
    colour: str,
    fills: Sequence[str],
    marker: str,
    label: str,
) -> None:
    """Draw one point with its interval a row; a value that does not exist is left out."""
    known = [
        (row + offset, entry, fill)
        for row, (entry, fill) in enumerate(zip(entries, fills, strict=True))
        if entry["value"] is not None
    ]
    rows = [row for row, _, _ in known]
    axes.hlines(rows, [e["low"] for _, e, _ in known], [e["high"] for _, e, _ in known], color=colour, lw=1.6)
    axes.scatter(
        [e["value"] for _, e, _ in known],
        rows,
        c=[f for _, _, f in known],
        edgecolors=colour,
        marker=marker,
        s=26,
        zorder=3,
        label=label,
    )
