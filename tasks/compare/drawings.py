"""The figures of a comparison: what runs A and B measured, in one drawing each."""

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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

Found = Mapping[str, Any]

RUNS = {"a": ("A", BLUE, "o"), "b": ("B", ORANGE, "s")}
"""How each run is drawn: its name, colour and marker."""


def write_svgs(found: Found) -> dict[str, str]:
    """Return the SVG of each figure that the two runs have something for, ready to stand inside a page."""
    pages = {}
    with style.context(["default", STYLE]):
        for name, draw in _drawings(found).items():
            text = io.StringIO()
            no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            draw().savefig(text, format="svg", metadata=no_metadata)
            pages[name] = inline(with_titles(text.getvalue(), name), name)
    return pages


def shown_scores(found: Found) -> list[str]:
    """Return the scores whose layers are drawn: those that chose, as far as both runs know them."""
    return [name for name in dict.fromkeys(found["choice"]["score"]) if name in found["readings"]["scores"]]


def _drawings(found: Found) -> dict[str, Callable[[], Figure]]:
    """Return what draws each figure."""
    made: dict[str, Callable[[], Figure]] = {}
    if shown_scores(found):
        made["scores"] = partial(_scores, found)
    if found["readings"]["scores"]:
        made["costs"] = partial(_costs, found["readings"]["scores"])
    if _paired(found):
        made["changes"] = partial(_changes, _paired(found))
    for variant, model in found["models"].items():
        if model["sets"]:
            made[f"sets-{variant}"] = partial(_sets, model["sets"])
    reading = found["eavss"]["reading"][0]
    if reading in found["eavss"]["values"]:
        made["eavss"] = partial(_eavss, found["eavss"]["values"][reading], reading)
    return made


def _scores(found: Found) -> Figure:
    """Draw the score of every layer in both runs, a panel for each score that chose in one of them."""
    names = shown_scores(found)
    figure = Figure(figsize=(WIDTH, 0.6 + 2.5 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        entry = found["readings"]["scores"][name]
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


def _by_layer(axes: Axes, lines: Any, what: str, removed: Any = ((), ())) -> None:
    """Draw a line a run, that of A broader so that an equal one shows; removed layers are marked on top."""
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


def _costs(scores: Found) -> Figure:
    """Draw the loss after each score's removal in both runs with its interval."""
    names = list(scores)
    figure = Figure(figsize=(WIDTH, 1.0 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    for offset, (key, (label, colour, marker)) in zip(spread(2), RUNS.items(), strict=True):
        entries = {name: scores[name]["cost"][key] for name in names}
        intervals(axes, entries, "nll", offset=offset, colour=colour, marker=marker, label=f"run {label}")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("loss on held-out calibration text after removal, nats a token (lower is better)")
    legend_below(figure, axes.get_legend_handles_labels()[0])
    return figure


def _sets(sets: Found) -> Figure:
    """Draw the figures of each question set in both runs with their intervals."""
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


def _paired(found: Found) -> dict[str, dict[str, Any]]:
    """Return the sets of each model that were compared in pairs."""
    paired = {
        variant: {name: entry for name, entry in model["sets"].items() if entry["shared"]}
        for variant, model in found["models"].items()
    }
    return {variant: sets for variant, sets in paired.items() if sets}


def _changes(models: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw B minus A of each model on each set, with paired intervals; solid where one leaves zero out."""
    names = list(dict.fromkeys(name for sets in models.values() for name in sets))
    with set_panels(names, len(models)) as (figure, panels):
        for axes, (key, label) in zip(panels, NAMES.items(), strict=True):
            axes.axvline(0, color=INK, lw=0.8)
            for offset, ((variant, sets), colour, marker) in zip(
                spread(len(models)), styled(models), strict=True
            ):
                nothing = {"change": {"value": None, "low": None, "high": None}, "tone": "void"}
                entries = {name: sets[name]["figures"][key] if name in sets else nothing for name in names}
                intervals(
                    axes,
                    {name: entry["change"] for name, entry in entries.items()},
                    key,
                    offset=offset,
                    colour=colour,
                    filled=[entry["tone"] in ("better", "worse") for entry in entries.values()],
                    marker=marker,
                    label=variant,
                    sets=names,
                )
            better = "lower" if key in LOWER_IS_BETTER else "higher"
            axes.set(title=label, xlabel=f"B minus A, {better} is better")
        legend_below(figure, panels[0].get_legend_handles_labels()[0])
    return figure


def _eavss(lines: Any, reading: str) -> Figure:
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
