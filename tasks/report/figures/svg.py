"""Figures as SVG: what a mark shows is its title, and inside a page colours follow the page's theme.

A drawing says what its marks show by `tell`; the text travels as the artist's gid, which matplotlib writes as
the id of the artist's group.
"""

import json
import re
from collections.abc import Sequence
from xml.etree import ElementTree

from matplotlib.artist import Artist

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
    "#000000": "black",
    "#8a9099": "grey",
    "#e6e8eb": "grid",
    "#dde1e6": "empty",
}
"""The colours of the figures and the CSS variables `--fig-NAME` that stand for them inside a page."""

_PAGE_COLOURS = {"#20262e": "var(--ink)", "#ffffff": "var(--ground)"} | {
    colour: f"var(--fig-{name})" for colour, name in COLOURS.items()
}

_PLACES, _LONG = {"d", "x", "y"}, re.compile(r"-?\d+\.\d{3,}")
"""Attributes that say where something is, in points, and numbers of which no eye sees all digits."""


def tell(artist: Artist, tips: Sequence[str] = (), sets: Sequence[str] = ()) -> None:
    """Say what the marks of an artist show, in their order, and which question set each is of.

    One text is that of the whole artist. Marks whose value does not exist are not drawn and have no text.
    """
    artist.set_gid(json.dumps({"tips": list(tips), "sets": list(sets)}))


def with_titles(drawn: str, name: str) -> str:
    """Return an SVG of matplotlib with a title in each mark that `tell` spoke of, and its set as data-set.

    Raises:
        ValueError: an artist has another number of marks than of texts.
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
            element.set(place, _LONG.sub(lambda found: f"{float(found.group()):.2f}", element.get(place, "")))
    return ElementTree.tostring(root, encoding="unicode")


def _marks(group: ElementTree.Element, told: Sequence[str], name: str) -> list[ElementTree.Element]:
    """Return what texts speak of: nothing, the whole artist, or each use of a shape, else each path."""
    if len(told) < 2:
        return [group] * len(told)
    uses = list(group.iter(f"{{{_SVG}}}use"))
    shapes = {shape for defs in group.iter(f"{{{_SVG}}}defs") for shape in defs.iter()}
    marks = uses or [path for path in group.iter(f"{{{_SVG}}}path") if path not in shapes]
    if len(marks) != len(told):
        raise ValueError(f"figure {name}: {len(marks)} marks are drawn, {len(told)} are told of")
    return marks


def inline(svg: str, name: str) -> str:
    """Return an SVG to stand inside a page: ids that no other figure has, colours and width for the page."""
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda found: _PAGE_COLOURS.get(found.group(), found.group()), body)
    width = re.search(r'\bwidth="([\d.]+pt)"', body)
    return body.replace("<svg ", f'<svg style="--width: {width.group(1)}" ', 1) if width else body
