"""Figures by layer, with the removed layers shaded: answers read out, activations by text, EAVSS."""

from collections import defaultdict
from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tasks.records import RefitProjection
from tasks.report.activation_figures import PageRecords
from tasks.report.figures.drawing import (
    GREY,
    INK,
    ORANGE,
    PURPLE,
    WIDTH,
    by_layer,
    legend_below,
    log_if_wide,
    removed_key,
    shade_removed,
    styled,
)
from tasks.report.figures.svg import tell
from tasks.report.words.evidence import better_text
from tasks.report.words.wording import NAMES, significant, with_interval


def layers(records: PageRecords) -> Figure:
    """Draw the figures of the answers read out at each layer, one line a set."""
    record = records["evaluation"]["layers"]
    assert record is not None, "drawn only if layers were read out"
    depths = record["layers"]
    figure = Figure(figsize=(WIDTH, 4.9), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True).flat
    shown = [key for key in NAMES if key in next(iter(record["sets"].values()))]
    for axes, key in zip(panels, shown, strict=True):
        shade_removed(axes, records["pruned"]["provenance"]["removed"])
        for (name, values), colour, marker in styled(record["sets"]):
            known = {
                layer: entry
                for layer, entry in zip(depths, values[key], strict=True)
                if entry["value"] is not None
            }
            up = [entry["value"] for entry in known.values()]
            (line,) = axes.plot([*known], up, color=colour, marker=marker, ms=3.4, lw=1, label=name)
            tell(
                line,
                [f"{name}, behind layer {i}\n{with_interval(key, entry)}" for i, entry in known.items()],
                [name],
            )
        axes.set(title=NAMES[key], ylabel=better_text(key), ylim=(-0.03, 1.03))
        by_layer(axes)
        axes.tick_params(labelbottom=True)
    for axes in figure.axes[:2]:
        axes.set_xlabel("")
    legend_below(figure, [*figure.axes[0].get_legend_handles_labels()[0], *removed_key()])
    return figure


def activations(records: PageRecords) -> Figure:
    """Draw variance and norms of each layer by text, a row of panels for each site."""
    return _by_source(
        records,
        {
            "variance": "variance (squared activation)",
            "l1": "mean L1 norm of a token",
            "l2": "mean L2 norm of a token",
        },
    )


def sparsity(records: PageRecords) -> Figure:
    """Draw the Frobenius norm and the share of small values of each layer by text, a row for each site."""
    return _by_source(
        records, {"frobenius": "Frobenius norm / root of tokens", "share_below": "share below threshold"}
    )


def _by_source(records: PageRecords, columns: Mapping[str, str]) -> Figure:
    """Draw figures of the activations: a column for each, a row for each site, a line for each text."""
    sites = list(next(iter(records["activations"]["sources"].values())))
    figure = Figure(figsize=(WIDTH, 0.5 + 2.3 * len(sites)), layout="constrained")
    panels = figure.subplots(len(sites), len(columns), squeeze=False, sharex=True)
    questions = records["evaluation"]["dense"]["sets"]
    for line, site in zip(panels, sites, strict=True):
        for axes, (key, label) in zip(line, columns.items(), strict=True):
            shade_removed(axes, records["pruned"]["provenance"]["removed"])
            lines = {
                source: values[site][key] for source, values in records["activations"]["sources"].items()
            }
            for (source, values), colour, marker in styled(lines):
                (drawn,) = axes.plot(values, color=colour, marker=marker, ms=2.8, lw=1, label=source)
                tips = [
                    f"{source}, layer {layer}\n{significant(value)}" for layer, value in enumerate(values)
                ]
                tell(drawn, tips, [source] if source in questions else ())
            log_if_wide(axes, [value for values in lines.values() for value in values])
            by_layer(axes)
            if line is not panels[-1]:
                axes.set_xlabel("")
            axes.set(title=f"{site}: {label}" if len(columns) < 3 else f"{site}", ylabel=label)
    handles, _ = panels[0][0].get_legend_handles_labels()
    legend_below(figure, [*handles, *removed_key()])
    return figure


def eavss(records: PageRecords) -> Figure:
    """Draw EAVSS of each layer with its interval, by set and source, above the independent linear probe."""
    record, removed = records["localization"], records["pruned"]["provenance"]["removed"]
    name = record["reading"]
    reading = record["readings"][name]
    values, depth = reading["values"], range(len(reading["values"]))
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    score, probe = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for axes in (score, probe):
        shade_removed(axes, removed)
    for (set_name, bands), colour, marker in styled(record["sets"]):
        line = bands[name]["values"]
        (drawn,) = score.plot(
            depth, line, color=colour, marker=marker, ms=2.5, lw=0.8, alpha=0.7, label=set_name
        )
        tips = [f"{set_name}, layer {layer}\n{significant(value)}" for layer, value in enumerate(line)]
        tell(drawn, tips, [set_name])
    for (source, part), dashes in zip(record["sources"].items(), ("--", ":"), strict=False):
        score.plot(depth, part[name]["values"], color=INK, ls=dashes, label=f"{source} answers")
    score.fill_between(
        depth, reading["low"], reading["high"], color=GREY, alpha=0.28, lw=0, label="95 % interval of all"
    )
    score.plot(depth, values, color=INK, lw=1.8, label="all answers")
    trained = records["mitigation"]["training"]["dense_layers"]
    others = [layer for layer in depth if layer not in trained]
    for label, at, fill in (("trained", trained, ORANGE), (None, others, "white")):
        points = score.scatter(
            at, [values[layer] for layer in at], c=fill, edgecolors=INK, s=24, lw=1, zorder=4, label=label
        )
        state = ", trained" if label else ""
        tell(points, [
            f"all answers, layer {layer}{state}\n{significant(values[layer])} "
            f"[{significant(reading['low'][layer], 3)}, {significant(reading['high'][layer], 3)}]"
            for layer in at
        ])  # fmt: skip
    score.axhline(0, color=INK, lw=0.8)
    score.set(title=f"{name} by layer", ylabel="nats" if name == "eavss_contrast" else "score")
    known = {layer: value for layer, value in enumerate(record["probe_auroc"]) if value is not None}
    (drawn,) = probe.plot([*known], [*known.values()], color=PURPLE, marker="o", ms=3.5, lw=1)
    tell(drawn, [f"probe, layer {layer}\nAUROC {value:.3f}" for layer, value in known.items()])
    probe.axhline(0.5, color=INK, lw=0.8, ls="--")
    probe.set(
        title="Linear probe as an independent check, validation questions (dashed: chance)", ylabel="AUROC"
    )
    by_layer(probe)
    legend_below(figure, [*score.get_legend_handles_labels()[0], *removed_key()], columns=6)
    return figure


def repair(records: PageRecords) -> Figure:
    """Draw the error that each refit left on held-out windows, one line a projection; open: it stayed."""
    refits: dict[str, list[RefitProjection]] = defaultdict(list)
    for each in records["repair"]["fit"]["projections"]:
        refits[each["projection"]].append(each)
    figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
    axes = figure.subplots()
    shade_removed(axes, records["pruned"]["provenance"]["removed"])
    axes.axhline(1, color=INK, lw=0.8)
    for (name, each), colour, marker in styled(refits):
        layers, errors = [one["dense_layer"] for one in each], [one["error"] for one in each]
        axes.plot(layers, errors, color=colour, lw=1.0, alpha=0.6)
        faces = ["white" if one["ridge"] is None else colour for one in each]
        points = axes.scatter(layers, errors, c=faces, edgecolors=colour, marker=marker, s=24, zorder=3)
        tips = [
            f"layer {one['dense_layer']}, {name}\n"
            + ("stays as it is" if one["ridge"] is None else f"{significant(100 * one['error'], 3)} % left")
            for one in each
        ]
        tell(points, tips)
    axes.set(xlim=(-0.6, records["card"]["layers"] - 0.4), ylabel="error left (before the refit: 1)")
    axes.set_ylim(bottom=0)
    by_layer(axes)
    axes.set_xlabel("layer of the dense model")
    keys = [
        Line2D([], [], color=colour, marker=marker, ms=4.5, lw=1, label=name)
        for (name, _), colour, marker in styled(refits)
    ]
    legend_below(figure, [*keys, *removed_key()])
    return figure
