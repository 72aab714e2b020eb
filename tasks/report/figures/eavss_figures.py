"""Figure of EAVSS by layer with its outside check."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tasks.report.figures.drawing import (
    GREY,
    INK,
    ORANGE,
    PURPLE,
    WIDTH,
    by_layer,
    legend_below,
    removed_key,
    shade_removed,
    styled,
)
from tasks.report.figures.svg import tell
from tasks.report.words.wording import significant


def eavss(found: Mapping[str, Any]) -> Figure:
    """Draw EAVSS of each layer with its interval, sets and sources, and the probe that looks from outside."""
    record, removed = found["localization"], found["pruned"]["provenance"]["removed"]
    name = record["reading"]
    reading = record["readings"][name]
    values, depth = reading["values"], range(len(reading["values"]))
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    score, probe = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for axes in (score, probe):
        shade_removed(axes, removed)
    lines = {set_name: (part[name]["values"], [set_name]) for set_name, part in record["sets"].items()}
    for (label, (line, of)), colour, marker in styled(lines):
        (drawn,) = score.plot(
            depth, line, color=colour, marker=marker, ms=2.5, lw=0.8, alpha=0.7, label=label
        )
        tell(
            drawn,
            [
                f"{label}, layer {layer}\n{significant(value)}"
                for layer, value in zip(depth, line, strict=True)
            ],
            of,
        )
    for (source, part), dashes in zip(record["sources"].items(), ("--", ":"), strict=False):
        score.plot(depth, part[name]["values"], color=INK, ls=dashes, label=f"{source} answers")
    score.fill_between(
        depth, reading["low"], reading["high"], color=GREY, alpha=0.28, lw=0, label="95 % interval of all"
    )
    score.plot(depth, values, color=INK, lw=1.8, label="all answers")
    trained = found["mitigation"]["training"]["dense_layers"]
    for label, layers, fill, edge in (
        ("trained", trained, ORANGE, INK),
        ("", [layer for layer in depth if layer not in trained], "white", INK),
    ):
        points = score.scatter(
            layers, [values[i] for i in layers], c=fill, edgecolors=edge, s=24, lw=1, zorder=4
        )
        if label:
            points.set_label(label)
        tell(points, [
            f"all answers, layer {i}{', trained' if label else ''}\n{significant(values[i])} "
            f"[{significant(reading['low'][i], 3)}, {significant(reading['high'][i], 3)}]"
            for i in layers
        ])  # fmt: skip
    score.axhline(0, color=INK, lw=0.8)
    score.set(title=f"{name} by layer", ylabel="nats" if name == "eavss_contrast" else "score")
    known = [(layer, value) for layer, value in enumerate(record["probe_auroc"]) if value is not None]
    (drawn,) = probe.plot(
        [i for i, _ in known], [value for _, value in known], color=PURPLE, marker="o", ms=3.5, lw=1
    )
    tell(drawn, [f"probe, layer {layer}\nAUROC {value:.3f}" for layer, value in known])
    probe.axhline(0.5, color=INK, lw=0.8, ls="--")
    probe.set(title="Linear probe from outside, validation questions (dashed: chance)", ylabel="AUROC")
    by_layer(probe)
    legend_below(figure, [*score.get_legend_handles_labels()[0], *removed_key()], columns=6)
    return figure
