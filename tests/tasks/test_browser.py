"""The report in a browser: what no parser of HTML can see."""

import csv
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.report.figures.figures import DRAWINGS
from tests.tasks.report_records import LAYERS, SETS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests."""
    rights = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has no sandbox
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=[*rights, "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def opened(browser: Any, drawn: tuple[Path, list[Path]]) -> Any:
    """One page for all tests; what it asked for and complained of lies in `asked` and `errors`."""
    page = browser.new_page(viewport=WIDE, reduced_motion="reduce")
    page.asked, page.errors = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("console", lambda message: page.errors.append(message.text))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto((drawn[0] / "index.html").as_uri())
    return page


@pytest.fixture
def first(opened: Any) -> Any:
    """The page at its top as it is first seen."""
    opened.set_viewport_size(WIDE)
    opened.evaluate("document.querySelectorAll('details').forEach(each => each.open = false)")
    opened.evaluate("scrollTo(0, 0)")
    return opened


@pytest.fixture
def page(first: Any) -> Any:
    """The page at its top with every fold open."""
    first.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    first.evaluate("scrollTo(0, 0)")
    return first


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_first_look_is_half_the_page_and_begins_with_picture_and_sentences(
    first: Any, size: dict[str, int]
) -> None:
    first.set_viewport_size(size)
    height = first.evaluate("document.documentElement.scrollHeight")
    svgs = first.locator("#figure-overview svg")
    assert [svg.is_visible() for svg in svgs.all()] == [size is WIDE, size is NARROW]
    shown = svgs.nth(0 if size is WIDE else 1).bounding_box()
    assert shown["width"] <= size["width"]
    assert shown["y"] + shown["height"] < 1.3 * size["height"]
    if size is WIDE:
        last = first.locator(".opening li").last.bounding_box()
        assert last["y"] + last["height"] < size["height"]
    first.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert height < 0.6 * first.evaluate("document.documentElement.scrollHeight")


def test_a_link_opens_the_fold_that_it_leads_into_and_a_button_opens_all(first: Any) -> None:
    part = first.locator("#findings")
    assert part.is_hidden()
    first.click("nav a[href='#findings']")
    first.wait_for_function("document.getElementById('findings').getBoundingClientRect().top < innerHeight")
    assert part.is_visible()
    count = "document.querySelectorAll('details:not([open])').length"
    assert first.evaluate(count) > 5
    first.click("#unfold")
    assert first.evaluate(count) == 0
    first.click("#unfold")
    assert first.evaluate("document.querySelectorAll('details[open]').length") == 0


def test_paper_shows_every_fold_and_the_screen_folds_them_again(first: Any) -> None:
    first.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert first.evaluate("document.querySelectorAll('details:not([open])').length") == 0
    first.evaluate("dispatchEvent(new Event('afterprint'))")
    assert first.evaluate("document.querySelectorAll('details[open]').length") == 0


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_fails_leaves_the_machine_or_overflows(page: Any, size: dict[str, int]) -> None:
    page.set_viewport_size(size)
    assert page.errors == []
    assert {url.partition(":")[0] for url in page.asked} <= {"file", "blob", "data"}
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_every_figure_is_drawn_no_wider_than_its_page_and_no_larger_than_it_was_made(page: Any) -> None:
    found = page.evaluate("""[...document.querySelectorAll('figure')].map(figure => {
        const svg = figure.querySelector('svg'), box = svg.getBoundingClientRect();
        return [figure.id, box.width, box.height, svg.viewBox.baseVal.width * 4 / 3, figure.clientWidth,
                svg.querySelectorAll('path, use').length, svg.querySelectorAll('.tip').length];
    })""")
    assert {name for name, *_ in found} == {f"figure-{name}" for name in DRAWINGS}
    for name, width, height, made, room, shapes, marks in found:
        assert 0 < width <= min(made, room) + 1, name
        assert height > 50, name
        assert shapes > marks > 0, name


def test_every_link_leads_somewhere(page: Any, drawn: tuple[Path, list[Path]]) -> None:
    links = page.evaluate("[...document.links].map(link => link.getAttribute('href'))")
    assert len(links) > 2 * len(DRAWINGS)
    for link in links:
        if link.startswith("#"):
            assert page.locator(f"[id='{link[1:]}']").count() == 1, link
        else:
            assert (drawn[0] / link).is_file(), link
    page.click("nav a[href='#limits']")
    page.wait_for_function("document.getElementById('limits').getBoundingClientRect().top < innerHeight")


def test_a_mark_says_its_value_to_pointer_and_keyboard(page: Any) -> None:
    figure = page.locator("#figure-scores .scroll")
    figure.scroll_into_view_if_needed()
    tip = page.locator("#tip")
    assert tip.is_hidden()
    box = figure.locator(".tip").nth(2).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    # Layer 2 was removed; its relative variance is that of the records, as the table has it.
    assert tip.text_content() == "layer 2, removed\nVar(update) / Var(output) 403.4"
    page.mouse.move(0, 0)
    assert tip.is_hidden()
    figure.focus()
    for layer in (0, 1):
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"document.getElementById('tip').textContent.startsWith('layer {layer}\\n')")
        assert tip.is_visible()
    assert page.locator("[aria-live]").text_content() == tip.text_content()
    page.keyboard.press("Escape")
    assert tip.is_hidden()


def test_one_set_may_be_chosen(page: Any) -> None:
    first, second = SETS
    shown = f"tr[data-set={second}], tbody[data-set={second}], .table[data-set={second}]"
    marks = page.locator(f"#figure-pruning [data-set={second}]")
    count = page.locator(shown).count()
    assert count > 5
    page.select_option("#set", first)
    assert not any(each.is_visible() for each in page.locator(shown).all())
    assert page.locator(f"#retention tr[data-set={first}], #pruning tr[data-set={first}]").first.is_visible()
    assert float(marks.first.evaluate("each => getComputedStyle(each).opacity")) < 0.5
    page.select_option("#set", "")
    assert page.locator(".off").count() == 0
    assert float(marks.first.evaluate("each => getComputedStyle(each).opacity")) == 1


def test_a_table_is_saved_as_csv(page: Any, tmp_path: Path) -> None:
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download as CSV: Question answering, dense and pruned").click()
    name = "question-answering-dense-and-pruned.csv"
    assert waiting.value.suggested_filename == name
    waiting.value.save_as(tmp_path / name)
    head, *rows = csv.reader((tmp_path / name).read_text(encoding="utf-8").splitlines())
    assert head[:3] == ["Set", "Figure", "Dense [95 %]"]
    assert len(rows) == 7 * len(SETS)
    assert {len(row) for row in rows} == {len(head)}
    # A cell that spans rows or columns stands in each of them.
    assert [row[0].split()[0] for row in rows] == [name for name in SETS for _ in range(7)]
    assert rows[0][1:3] == ["accuracy", "50.0\u00a0% [45.0, 55.0]".replace("\u00a0", " ")]


def test_a_table_is_sorted_by_a_column(page: Any) -> None:
    table = page.locator("table", has=page.get_by_text("Choice and cost of each reading"))
    names = table.locator("tbody th")
    before = [text.split()[0] for text in names.all_inner_texts()]
    head = table.get_by_role("button", name=re.compile("Loss, nats"))
    head.click()
    assert [text.split()[0] for text in names.all_inner_texts()] == ["avss", "traversal", "avss_output"]
    assert table.locator("[aria-sort=ascending]").count() == 1
    head.click()
    assert [text.split()[0] for text in names.all_inner_texts()] == ["avss_output", "traversal", "avss"]
    assert sorted(before) == ["avss", "avss_output", "traversal"]


def test_the_theme_follows_the_system_until_it_is_chosen(page: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert light != dark
    button = page.locator("#theme")
    button.click()
    assert (button.inner_text(), page.evaluate(ground)) == ("Theme: light", light)
    button.click()
    page.emulate_media(color_scheme="light")
    assert (button.inner_text(), page.evaluate(ground)) == ("Theme: dark", dark)
    button.click()
    assert (button.inner_text(), page.evaluate(ground)) == ("Theme: auto", light)


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, "light"), (NARROW, "dark")], ids=["light", "dark"])
def test_people_with_other_senses_can_use_it(page: Any, size: dict[str, int], scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    grave = {each["id"]: [node["html"][:200] for node in each["nodes"][:3]]
             for each in found if each["impact"] in ("serious", "critical")}  # fmt: skip
    assert grave == {}


def test_without_scripts_and_on_paper_all_is_there(browser: Any, drawn: tuple[Path, list[Path]]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((drawn[0] / "index.html").as_uri())
    assert page.locator(".tools").is_hidden()
    assert page.locator("#figure-scores .tip > title").first.text_content().startswith("layer 0\n")
    assert page.locator("#figure-layers svg").is_visible()
    page.get_by_text("All scores, layer by layer").click()
    assert page.locator("table", has_text="Scores by reading").locator("tbody tr").count() == LAYERS
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.locator("#figure-scores svg").is_visible()
    context.close()
