"""A comparison of two runs as one page that stands alone, as Markdown, and as plain rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from avss_core.files.writing import write_text
from avss_core.surgery.markdown import plain
from tasks.compare.comparison import Compared, Comparison
from tasks.compare.drawings import write_svgs
from tasks.compare.verdicts import KINDS, MARKS, both_text, difference_text, reasons, verdicts
from tasks.report.pages import environment
from tasks.report.words.wording import NAMES, NONE, listed, number

SECTIONS = {
    "verdict": "Verdict",
    "differs": "What differs",
    "layers": "Layers and costs",
    "models": "The models\u2019 figures",
    "kept": "Retention",
    "eavss": "EAVSS, mitigation",
    "size": "Size",
    "limits": "How to read this",
}
"""The sections of the page in order, each with its name in the contents."""


def write_page(comparison: Comparison, path: Path) -> None:
    """Write the page of a comparison; every text of a record is escaped, the figures alone are markup.

    Raises:
        IsADirectoryError: there is a folder of this name.
    """
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder; name a file for the page, such as {path / 'compare.html'}"
        )
    page = environment().get_template("compare.html.j2").render(
        **comparison,
        figures={name: Markup(svg) for name, svg in write_svgs(comparison).items()},
        contents=SECTIONS,
        verdicts=verdicts(comparison),
        why=reasons(comparison),
        kinds=KINDS,
        marks=MARKS,
        names=NAMES,
        both_text=both_text,
        difference_text=difference_text,
        value_text=_value_text,
        sets=list(dict.fromkeys(name for model in comparison["models"].values() for name in model["sets"])),
    )  # fmt: skip
    write_text(path, page)


def plain_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return a row for each setting that differs and each figure: a, b, change (b minus a), its interval."""
    rows: list[dict[str, Any]] = [
        {"part": kind, "name": name, "a": values[0], "b": values[1]}
        for kind, name, values in _settings(comparison)
    ]
    rows += [
        {"part": f"layers, {name}", "name": "removed", "a": removed[0], "b": removed[1]}
        for name, removed, _ in _removed(comparison)
    ]
    rows += [
        {
            "part": part,
            "name": name,
            "a": entry["a"]["value"],
            "b": entry["b"]["value"],
            "change": entry["change"]["value"],
            "low": entry["change"]["low"],
            "high": entry["change"]["high"],
            "paired": entry["paired"],
            "verdict": entry["tone"],
        }
        for part, name, _, entry in figures(comparison)
    ]
    return rows


def markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown: what it says, what differs, and a table of every figure."""
    lines = [
        f"A: {plain(comparison['runs']['a']['name'])} ({comparison['runs']['a']['kind']})  ",
        f"B: {plain(comparison['runs']['b']['name'])} ({comparison['runs']['b']['kind']})",
        "",
    ]
    for verdict in verdicts(comparison):
        lines.append(f"- {plain(verdict.text)}")
        lines += [f"  - {plain(detail)}" for detail in verdict.details]
    lines += _table(
        ["what differs", "A", "B"],
        [
            [f"{kind}: {plain(name)}", *(plain(_value_text(value)) for value in values)]
            for kind, name, values in _settings(comparison)
        ]
        or [["nothing", "", ""]],
    )
    lines += _table(
        ["score", "removed by A", "removed by B", "tau"],
        [[plain(name), *removed, number(tau, 2)] for name, removed, tau in _removed(comparison)],
    )
    lines += _table(
        ["figure", "A [95 %]", "B [95 %]", "B minus A", "verdict"],
        [
            [
                f"{plain(part)}: {plain(name)}",
                *both_text(kind, entry),
                difference_text(kind, entry),
                MARKS[entry["tone"]],
            ]
            for part, name, kind, entry in figures(comparison)
        ],
    )
    return "\n".join(lines)


def figures(comparison: Comparison) -> Iterator[tuple[str, str, str, Compared]]:
    """Yield every compared figure: the part that it belongs to, its name there, its kind, and its entry."""
    for name, score in comparison["readings"]["scores"].items():
        yield "removal loss", name, "nll", score["cost"]
    for variant, model in comparison["models"].items():
        yield variant, "text nll", "nll", model["text"]["nll"]
        yield variant, "sentiment accuracy", "accuracy", model["sentiment"]["accuracy"]
        for name, each in model["sets"].items():
            for figure, entry in each["figures"].items():
                yield variant, f"{name} {figure}", figure, entry
    for variant, kept in comparison["retention"].items():
        for name, entry in kept.items():
            yield f"kept by {variant}", name, "accuracy", entry
    yield "mitigation", "divergence from its base", "nll", comparison["mitigation"]["divergence"]


def _settings(comparison: Comparison) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield kind, name and both values of what differs before any result."""
    for kind, differing in comparison["differs"].items():
        for name, values in differing.items():
            yield kind, name, values


def _removed(comparison: Comparison) -> Iterator[tuple[str, list[str], float | None]]:
    """Yield the layers that the pruned models lost, then those of each score, with Kendall's tau."""
    yield "pruned", [listed(layers) for layers in comparison["choice"]["removed"]], None
    for name, score in comparison["readings"]["scores"].items():
        yield name, [listed(layers) for layers in score["removed"]], score["tau"]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table, with a blank line before it."""
    return ["", *(f"| {' | '.join(cells)} |" for cells in [heads, ["---"] * len(heads), *rows])]


def _value_text(value: Any) -> str:
    """Return a value of a setting, of the data or of a version."""
    if value is None:
        return NONE
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
