"""The order of the page: a picture, a few sentences, and the rest behind folds that links and paper open."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tasks.report.page_context import FOLDED, SECTIONS
from tasks.report.words.findings import findings
from tasks.report.words.headline import headline
from tasks.report.words.opening import opening
from tests.tasks.report_records import named, run_records

VOID = {"meta", "br", "hr", "img", "link", "input", "col", "path", "use"}
TEMPLATES = Path(__file__).resolve().parents[3] / "tasks/report/templates"


class Outline(HTMLParser):
    """Elements in order, each with the folds around it, and the words outside of figures."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.folds: dict[str, list[str]] = {}
        """Id of an element -> the elements around it from its fold on, () outside of one."""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = self.seen = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag not in VOID and "/>" not in (self.get_starttag_text() or ""):
            self.open.append((tag, known.get("id") or ""))
        self.tags.append((tag, known))
        around = [name for name, _ in self.open]
        if known.get("id"):
            self.folds[known["id"] or ""] = around[around.index("details") :] if "details" in around else []

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1][0] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        around = [name for name, _ in self.open]
        if not {"style", "script", "svg", "head"} & {*around}:
            self.text += data
            self.seen += "" if "details" in around and "summary" not in around else data


@pytest.fixture(scope="module")
def outline(drawn: tuple[Path, list[Path]]) -> Outline:
    return Outline((drawn[0] / "index.html").read_text(encoding="utf-8"))


def test_the_picture_comes_first_and_then_the_sentences(outline: Outline) -> None:
    inside = [tag for tag, _ in outline.tags[[tag for tag, _ in outline.tags].index("main") :]]
    assert [tag for tag in inside if tag in {"h1", "figure", "ul", "details", "table", "h2"}][:4] == [
        "h1", "figure", "ul", "details",
    ]  # fmt: skip
    first = opening(named(run_records()), None)
    assert "".join(f"{line}\n" for line in first) in outline.seen
    assert 3 <= len(first) <= 5


def test_every_finding_is_there_behind_a_fold(outline: Outline) -> None:
    records = named(run_records())
    said = [*headline(records), *findings(records)]
    assert len(said) > 12
    for verdict in said:
        for line in (verdict.text, *verdict.details):
            assert line in outline.text
            assert line not in outline.seen
    assert not [known for tag, known in outline.tags if tag == "details" and "open" in known]
    # What is folded is most of the words; what is seen at first still has every section's heading.
    assert len(outline.seen) < 0.6 * len(outline.text)
    for name in SECTIONS:
        assert f"{name}-title" in outline.folds


def test_a_section_that_folds_is_opened_by_a_link_without_any_script(outline: Outline) -> None:
    links = {known["href"] for tag, known in outline.tags if tag == "a" and "href" in known}
    for name in FOLDED:
        assert f"#{name}" in links
        # A browser opens the fold around the place that a link names, not one inside of it.
        assert "details" in outline.folds[name]
        assert "summary" not in outline.folds[name]
        assert "summary" in outline.folds[f"{name}-title"]
    for name in SECTIONS.keys() - FOLDED:
        assert outline.folds[name] == []


def test_paper_and_the_script_open_every_fold() -> None:
    css, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    assert re.search(
        r"@media print \{.*details::details-content \{ content-visibility: visible", css, re.DOTALL
    )
    assert "beforeprint" in script
    assert "hashchange" in script


def test_every_fold_says_what_it_holds(outline: Outline) -> None:
    page = [tag for tag, _ in outline.tags]
    assert page.count("details") == page.count("summary") > 10
