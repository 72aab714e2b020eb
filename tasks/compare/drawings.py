"""The figures of a comparison: what runs A and B measured, in one drawing each."""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from avss_core.metrics.records import Entry
from tasks.compare.comparison import ComparedScore, ComparedSet, Comparison
from tasks.report.figures.drawing import (
    BLUE,
    INK,
    ORANGE,
    STYLE,
    WIDTH,
    by_layer,
    intervals,
    legend_below,
    log_if_wide,
    styled,
)
from tasks.report.figures.set_figures import set_panels, spread
from tasks.report.figures.svg import inline, tell, with_titles
from tasks.report.words.evidence import LOWER_IS_BETTER
from tasks.report.words.wording import NAMES, significant

RUNS: Mapping[Literal["a", "b"], tuple[str, str, str]] = {"a": ("A", BLUE, "o"), "b": ("B", ORANGE, "s")}
"""How each run is drawn: its name, colour and marker."""

NO_VALUE: Entry = {"value": None, "low": None, "high": None}


def write_svgs(comparison: Comparison) -> dict[str, str]:
    """Return the SVG of each figure that both runs have numbers for, ready to stand inside a page."""
    pages = {}
    with style.context(["default", STYLE]):
        for name, draw in _drawings(comparison).items():
            text = io.StringIO()
            no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            draw().savefig(text, format="svg", metadata=no_metadata)
            pages[name] = inline(with_titles(text.getvalue(), name), name)
    return pages


def _drawings(comparison: Comparison) -> dict[str, Callable[[], Figure]]:
    """Return what draws each figure."""
    scores, eavss = comparison["readings"]["scores"], comparison["eavss"]
    figures: dict[str, Callable[[], Figure]] = {}
    chose = {name: scores[name] for name in comparison["choice"]["score"] if name in scores}
    if chose:
        figures["scores"] = partial(_scores, chose)
    if scores:
        figures["costs"] = partial(_costs, scores)
    models = {name: model["sets"] for name, model in comparison["models"].items() if model["sets"]}
    paired = {
        variant: {name: each for name, each in sets.items() if each["shared"]}
        for variant, sets in models.items()
    }
    if any(paired.values()):
        figures["changes"] = partial(_changes, {name: sets for name, sets in paired.items() if sets})
    figures |= {f"sets-{name}": partial(_sets, sets) for name, sets in models.items()}
    reading = eavss["reading"][0]
    if reading in eavss["values"]:
        figures["eavss"] = partial(_eavss, eavss["values"][reading], reading)
    return figures


def _scores(scores: Mapping[str, ComparedScore]) -> Figure:
    """Draw the score of every layer in both runs, a panel for each score that chose in one of them."""
    figure = Figure(figsize=(WIDTH, 0.6 + 2.5 * len(scores)), layout="constrained")
    panels = figure.subplots(len(scores), 1, squeeze=False)[:, 0]
    for axes, (name, entry) in zip(panels, scores.items(), strict=True):
        _by_layer(axes, entry["scores"], name, entry["removed"])
        log_if_wide(axes, [value for line in entry["scores"] for value in line])
        axes.set_title(f"Score by {name}", pad=22)
        axes.set_ylabel("score")
    keys = [
        Line2D([], [], color=colour, marker=marker, ms=4, lw=1.4, label=f"run {label}")
        for label, colour, marker in RUNS.values()
    ]
    keys += [
        Line2D([], [], ls="", color=colour, marker=sign, ms=6, label=f"removed in {label}")
        for (label, colour, _), sign in zip(RUNS.values(), "v^", strict=True)
    ]
    legend_below(figure, keys)
    return figure


def _by_layer(
    axes: Axes,
    lines: Sequence[Sequence[float]],
    what: str,
    removed: Sequence[Sequence[int]] = ((), ()),
) -> None:
    """Draw a line a run, that of A broader so that an equal one shows; marks on top are removed layers."""
    sizes, heights = ((3.2, 40), (1.2, 11)), (1.1, 1.03)
    for values, (label, colour, marker), gone, sign, (width, size), height in zip(
        lines, RUNS.values(), removed, "v^", sizes, heights, strict=True
    ):
        axes.plot(range(len(values)), values, color=colour, lw=width, alpha=0.6, zorder=2)
        points = axes.scatter(range(len(values)), values, c=colour, marker=marker, s=size, zorder=3)
        states = [", removed" if layer in gone else "" for layer in range(len(values))]
        tell(
            points,
            [
                f"run {label}, layer {layer}{states[layer]}\n{what} {significant(value)}"
                for layer, value in enumerate(values)
            ],
        )
        axes.plot(
            gone, [height] * len(gone), ls="", marker=sign, ms=6, color=colour, clip_on=False,
            transform=axes.get_xaxis_transform(), zorder=5,
        )  # fmt: skip
    by_layer(axes)


def _costs(scores: Mapping[str, ComparedScore]) -> Figure:
    """Draw the loss after each score's removal in both runs, with intervals."""
    names = list(scores)
    figure = Figure(figsize=(WIDTH, 1.0 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    for offset, (key, (label, colour, marker)) in zip(spread(2), RUNS.items(), strict=True):
        entries = {name: score["cost"][key] for name, score in scores.items()}
        intervals(axes, entries, "nll", offset=offset, colour=colour, marker=marker, label=f"run {label}")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("loss on held-out calibration text after removal, nats a token (lower is better)")
    legend_below(figure, axes.get_legend_handles_labels()[0])
    return figure


def _sets(sets: Mapping[str, ComparedSet]) -> Figure:
    """Draw the figures of each question set in both runs, with intervals."""
    names = list(sets)
    with set_panels(names, 2) as (figure, panels):
        for axes, (key, label) in zip(panels, NAMES.items(), strict=True):
            for offset, (run, (said, colour, marker)) in zip(spread(2), RUNS.items(), strict=True):
                entries = {name: sets[name]["figures"][key][run] for name in names}
                intervals(axes, entries, key, offset=offset, colour=colour, marker=marker,
                          label=f"run {said}", sets=names)  # fmt: skip
            axes.set(title=label, xlabel="lower is better" if key in LOWER_IS_BETTER else "higher is better")
            axes.set_xlim(-0.04, 1.04)
        legend_below(figure, panels[0].get_legend_handles_labels()[0])
    return figure


def _changes(models: Mapping[str, Mapping[str, ComparedSet]]) -> Figure:
    """Draw B minus A of each model on each set, with paired intervals; solid if one excludes zero."""
    names = list(dict.fromkeys(name for sets in models.values() for name in sets))
    with set_panels(names, len(models)) as (figure, panels):
        for axes, (key, label) in zip(panels, NAMES.items(), strict=True):
            axes.axvline(0, color=INK, lw=0.8)
            for offset, ((variant, sets), colour, marker) in zip(
                spread(len(models)), styled(models), strict=True
            ):
                known = {name: each["figures"][key] for name, each in sets.items()}
                sure = {name for name, each in known.items() if each["tone"] in ("better", "worse")}
                intervals(
                    axes,
                    {name: known[name]["change"] if name in known else NO_VALUE for name in names},
                    key,
                    offset=offset,
                    colour=colour,
                    filled=[name in sure for name in names],
                    marker=marker,
                    label=variant,
                    sets=names,
                )
            better = "lower" if key in LOWER_IS_BETTER else "higher"
            axes.set(title=label, xlabel=f"B minus A, {better} is better")
        legend_below(figure, panels[0].get_legend_handles_labels()[0])
    return figure


def _eavss(lines: Sequence[Sequence[float]], reading: str) -> Figure:
    """Draw EAVSS of every layer in both runs."""
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    _by_layer(axes, lines, reading)
    axes.axhline(0, color=INK, lw=0.8)
    axes.set(title=reading, ylabel="score")
    legend_below(
        figure,
        [
            Line2D([], [], color=colour, marker=marker, ms=4, label=f"run {label}")
            for label, colour, marker in RUNS.values()
        ],
    )
    return figure
