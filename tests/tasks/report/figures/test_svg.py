import io
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from tasks.report.figures.svg import inline, tell, with_titles

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*told: Any) -> str:
    """A figure with a line of three points and two bars, of which `told` speaks."""
    figure = Figure(figsize=(2, 1))
    axes = figure.subplots()
    (line,) = axes.plot([1, 2, 3], [0.5, 1.5, 1.0], marker="o", color="#0072B2")
    bars = axes.bar([1, 2], [1, 2], color="#123456")
    for artist, tips, sets in zip((line, *bars), *told, strict=True):
        tell(artist, tips, sets)
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()


def test_each_mark_has_its_text_and_set() -> None:
    tips = (["first", "a < b & c", "third"], ["bar 1"], ["bar 2"])
    root = ElementTree.fromstring(with_titles(drawn(tips, (["nq"], [], ["sciq"])), "figure"))
    marks = [mark for mark in root.iter() if mark.get("class") == "tip"]
    # Bars are drawn first, each a group; the line's points are uses of one shape.
    assert [mark.tag for mark in marks] == [f"{SVG}g"] * 2 + [f"{SVG}use"] * 3
    assert [mark[0].text for mark in marks] == ["bar 1", "bar 2", "first", "a < b & c", "third"]
    groups = [group for group in root.iter() if group.get("data-set")]
    assert [group.get("data-set") for group in groups] == ["sciq", "nq"]
    assert [group.get("id") for group in groups] == ["marks_1", "marks_2"]


@pytest.mark.parametrize("texts", [["one", "two"], ["one", "two", "three", "four"]])
def test_a_text_without_a_mark_is_an_error(texts: list[str]) -> None:
    with pytest.raises(ValueError, match=f"figure losses: 3 marks are drawn, {len(texts)} have a text"):
        with_titles(drawn((texts, [], []), ([], [], [])), "losses")


def test_inside_a_page_ids_are_the_figures_own_and_colours_the_pages() -> None:
    plain = with_titles(drawn(([], [], []), ([], [], [])), "figure")
    page = inline(plain, "losses")
    root = ElementTree.fromstring(page)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) > 5
    assert all(name.startswith("losses-") for name in ids)
    used = {use.get("{http://www.w3.org/1999/xlink}href", "")[1:] for use in root.iter(f"{SVG}use")}
    assert used <= set(ids)
    assert "#0072b2" in plain
    assert "#0072b2" not in page
    assert "stroke: var(--fig-blue)" in page
    assert "#123456" in page  # a colour that the page has no other one for
    assert root.get("style") == "--width: 144pt"
