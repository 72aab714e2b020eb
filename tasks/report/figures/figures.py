"""The report's figures: matplotlib objects from the records of a run, written to the same bytes each time."""

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure

from tasks.report.activation_figures import PageRecords
from tasks.report.figures import (
    answer_figures,
    layer_figures,
    loss_figures,
    overview_figure,
    score_figures,
    set_figures,
)
from tasks.report.figures.drawing import STYLE
from tasks.report.figures.svg import as_svg, inline

DRAWINGS: Mapping[str, Callable[[PageRecords], Figure]] = {
    "overview": overview_figure.overview,
    "scores": score_figures.scores,
    "traversal": score_figures.traversal,
    "layers": layer_figures.layers,
    "activations": layer_figures.activations,
    "sparsity": layer_figures.sparsity,
    "readings": score_figures.readings,
    "stability": score_figures.stability,
    "retention": set_figures.retention,
    "pruning": set_figures.pruning,
    "repair": layer_figures.repair,
    "healing": loss_figures.healing,
    "reliability": answer_figures.reliability,
    "coverage": answer_figures.coverage,
    "eavss": layer_figures.eavss,
    "mitigation": set_figures.mitigation,
    "controls": set_figures.controls,
    "training": loss_figures.training,
}

_NARROW: Mapping[str, Callable[[PageRecords], Figure]] = {"overview": overview_figure.overview_narrow}
"""What the page shows in the place of a drawing on a narrow screen."""

_MEASURED: Mapping[str, Callable[[PageRecords], bool]] = {
    "traversal": lambda run: "traversal" in {*run["scores"]["readings"]} - {run["scores"]["chosen"]},
    "layers": lambda run: run["evaluation"]["layers"] is not None,
    "stability": lambda run: bool(run["scores"]["stability"]),
    "repair": lambda run: run["repair"]["enabled"],
    "healing": lambda run: run["healing"]["enabled"],
    "controls": lambda run: bool(run["mitigation"]["against_controls"]),
}
"""Whether a run has what a figure shows; every run has the figures that are not listed."""


def write_figures(records: PageRecords, folder: Path) -> dict[str, str]:
    """Write each figure as SVG and PNG, and return the SVG of each name for the page.

    One that is drawn for narrow screens, too, is also returned as NAME_narrow.
    """
    folder.mkdir()
    pages = {}
    with style.context(["default", STYLE]):  # a user's own matplotlibrc plays no part
        for name, draw in DRAWINGS.items():
            if name not in _MEASURED or _MEASURED[name](records):
                figure = draw(records)
                svg = as_svg(figure, name)
                figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
                (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
                pages[name] = inline(svg, name)
                if name in _NARROW:
                    narrow = f"{name}_narrow"
                    pages[narrow] = inline(as_svg(_NARROW[name](records), narrow), narrow)
    return pages
