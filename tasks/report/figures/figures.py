"""The report's figures: matplotlib objects from the records of a run, written to the same bytes each time."""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from tasks.report.figures import (
    answer_figures,
    eavss_figures,
    loss_figures,
    score_figures,
    set_figures,
    source_figures,
    stability_figure,
)
from tasks.report.figures.drawing import STYLE
from tasks.report.figures.svg import inline, with_titles

DRAWINGS: Mapping[str, Callable[[Mapping[str, Any]], Figure]] = {
    "scores": score_figures.scores,
    "traversal": score_figures.traversal,
    "layers": answer_figures.layers,
    "activations": source_figures.activations,
    "sparsity": source_figures.sparsity,
    "readings": score_figures.readings,
    "stability": stability_figure.stability,
    "retention": set_figures.retention,
    "pruning": set_figures.pruning,
    "healing": loss_figures.healing,
    "reliability": answer_figures.reliability,
    "coverage": answer_figures.coverage,
    "eavss": eavss_figures.eavss,
    "mitigation": set_figures.mitigation,
    "controls": set_figures.controls,
    "training": loss_figures.training,
}

_MEASURED: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "traversal": lambda found: "traversal" in {*found["scores"]["readings"]} - {found["scores"]["chosen"]},
    "layers": lambda found: found["evaluation"]["layers"] is not None,
    "stability": lambda found: bool(found["scores"]["stability"]),
    "healing": lambda found: found["healing"]["enabled"],
    "controls": lambda found: bool(found["mitigation"]["against_controls"]),
}
"""Of figures that not every run has, whether a run measured what they show."""


def write_figures(found: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Write each figure as SVG and PNG, and return the SVG of each name, ready to stand inside a page."""
    folder.mkdir()
    pages = {}
    with style.context(["default", STYLE]):  # a user's own matplotlibrc plays no part
        for name, draw in DRAWINGS.items():
            if not _MEASURED.get(name, lambda _: True)(found):
                continue
            figure = draw(found)
            text = io.StringIO()
            no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            figure.savefig(text, format="svg", metadata=no_metadata)
            figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
            svg = with_titles(text.getvalue(), name)
            (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
            pages[name] = inline(svg, name)
    return pages
