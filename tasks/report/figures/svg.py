"""Figures as SVG: each mark has a title with its value, and inside a page colours follow the page's theme.

A drawing gives its marks their titles by `tell`; the text travels as the artist's gid, which matplotlib
writes as the id of the artist's group.
"""

import io
import json
import re
from collections.abc import Sequence
from xml.etree import ElementTree

from matplotlib.artist import Artist
from matplotlib.figure import Figure

_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _LINK)

COLOURS = {
    "#0072b2": "blue",
    "#d55e00": "orange",
    "#009e73": "green",
    "#cc79a7": "purple",
    "#e69f00": "yellow",
    "#56b4e9": "sky",
    "#111111": "black",
    "#8a9099": "grey",
    "#e6e8eb": "grid",
    "#dde1e6": "empty",
}
"""The colours of the figures and the CSS variables `--fig-NAME` that stand for them inside a page."""

_PAGE_COLOURS = {"#20262e": "var(--ink)", "#ffffff": "var(--ground)"} | {
    colour: f"var(--fig-{name})" for colour, name in COLOURS.items()
}

_PLACES, _LONG = {"d", "x", "y"}, re.compile(r"-?\d+\.\d{3,}")
"""Attributes with positions in points, and numbers with more digits than an eye can see."""


def tell(artist: Artist, tips: Sequence[str] = (), sets: Sequence[str] = ()) -> None:
    """Give the marks of an artist, in their order, a text each and the question set of each.

    A single text belongs to the whole artist. A value of None has neither a mark nor a text.
    """
    artist.set_gid(json.dumps({"tips": list(tips), "sets": list(sets)}))


def as_svg(figure: Figure, name: str) -> str:
    """Return a figure as SVG with its titles; equal figures give equal text."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return with_titles(text.getvalue(), name)


def with_titles(drawn: str, name: str) -> str:
    """Return an SVG of matplotlib with the texts of `tell` as titles of the marks, and the sets as data-set.

    Raises:
        ValueError: an artist has more marks than texts, or fewer.
    """
    root = ElementTree.fromstring(drawn)
    told = [group for group in root.iter(f"{{{_SVG}}}g") if group.get("id", "").startswith("{")]
    for index, group in enumerate(told):
        record = json.loads(group.get("id", ""))
        group.set("id", f"marks_{index}")
        for mark, tip in zip(_marks(group, record["tips"], name), record["tips"], strict=True):
            mark.set("class", "tip")
            title = ElementTree.Element(f"{{{_SVG}}}title")
            title.text = tip
            mark.insert(0, title)
        for mark, set_name in zip(_marks(group, record["sets"], name), record["sets"], strict=True):
            mark.set("data-set", set_name)
    for element in root.iter():
        for place in sorted(_PLACES & {*element.keys()}):
            element.set(
                place, _LONG.sub(lambda digits: f"{float(digits.group()):.2f}", element.get(place, ""))
            )
    return ElementTree.tostring(root, encoding="unicode")


def _marks(group: ElementTree.Element, told: Sequence[str], name: str) -> list[ElementTree.Element]:
    """Return the marks that texts belong to: none, the whole artist, each use of a shape, or each path."""
    if len(told) < 2:
        return [group] * len(told)
    uses = list(group.iter(f"{{{_SVG}}}use"))
    shapes = {shape for defs in group.iter(f"{{{_SVG}}}defs") for shape in defs.iter()}
    marks = uses or [path for path in group.iter(f"{{{_SVG}}}path") if path not in shapes]
    if len(marks) != len(told):
        raise ValueError(f"figure {name}: {len(marks)} marks are drawn, {len(told)} have a text")
    return marks


def inline(svg: str, name: str) -> str:
    """Return an SVG for a page: ids that no other figure has, and the colours and the width of the page."""
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda colour: _PAGE_COLOURS.get(colour.group(), colour.group()), body)
    width = re.search(r'\bwidth="([\d.]+pt)"', body)
    return body.replace("<svg ", f'<svg style="--width: {width.group(1)}" ', 1) if width else body
