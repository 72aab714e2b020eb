"""Figures of the activations by layer and text source: variance and norms, Frobenius norm and sparsity."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tasks.report.figures.drawing import (
    WIDTH,
    by_layer,
    legend_below,
    log_if_wide,
    removed_key,
    shade_removed,
    styled,
)
from tasks.report.figures.svg import tell
from tasks.report.words.wording import significant


def activations(found: Mapping[str, Any]) -> Figure:
    """Draw variance and norms of each layer by text source, a row of panels for each site."""
    return _by_source(
        found,
        {
            "variance": "variance (squared activation)",
            "l1": "mean L1 norm of a token",
            "l2": "mean L2 norm of a token",
        },
    )


def sparsity(found: Mapping[str, Any]) -> Figure:
    """Draw the Frobenius norm and the share of small values of each layer by text source and site."""
    return _by_source(
        found, {"frobenius": "Frobenius norm / root of tokens", "share_below": "share below threshold"}
    )


def _by_source(found: Mapping[str, Any], columns: Mapping[str, str]) -> Figure:
    """Draw figures of the activations, a column for each, a row for each site, a line for each source."""
    sites = list(next(iter(found["sources"].values())))
    figure = Figure(figsize=(WIDTH, 0.5 + 2.3 * len(sites)), layout="constrained")
    panels = figure.subplots(len(sites), len(columns), squeeze=False, sharex=True)
    questions = found["evaluation"]["dense"]["sets"]
    for line, site in zip(panels, sites, strict=True):
        for axes, (key, label) in zip(line, columns.items(), strict=True):
            shade_removed(axes, found["pruned"]["provenance"]["removed"])
            lines = {source: values[site][key] for source, values in found["sources"].items()}
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
