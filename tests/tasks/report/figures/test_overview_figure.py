"""The first picture: a cell a layer with what was done to it, and a row a model with what it keeps."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib import style

from tasks.report.figures.drawing import STYLE
from tasks.report.figures.overview_figure import overview, overview_narrow, picture_words
from tasks.report.figures.svg import as_svg
from tests.tasks.report_records import Records, entry, named, run_records, training, without_repair

SVG = "{http://www.w3.org/2000/svg}"
SHARES = (
    ["80.0\u00a0% [75.0, 85.0]"] * 4,
    ["50.0", "56.2", "62.5", "93.8"],
    ["75.0\u00a0% [70.0, 80.0]"] * 4,
)


@pytest.fixture
def records() -> Records:
    return named(run_records())


def drawn_as(draw: Any, records: Records) -> ElementTree.Element:
    with style.context(["default", STYLE]):
        return ElementTree.fromstring(as_svg(draw(records), "overview"))


def titles(drawing: ElementTree.Element) -> list[str]:
    return [title.text or "" for title in drawing.iter(f"{SVG}title")]


def words(drawing: ElementTree.Element) -> str:
    return " ".join("".join(text.itertext()) for text in drawing.iter(f"{SVG}text"))


def test_a_cell_says_what_was_done_to_its_layer_and_a_mark_what_a_model_keeps(
    drawn: tuple[Path, list[Path]],
) -> None:
    found = titles(ElementTree.parse(drawn[0] / "figures" / "overview.svg").getroot())
    # The attention of layer 1 stays as it was; its other projection was refitted.
    assert found[:4] == [
        "layer 0: trained by healing",
        "layer 1: repaired (refitted), trained by healing",
        "layer 2: removed, trained by mitigation",
        "layer 3: repaired (refitted), trained by healing",
    ]
    models = ("dense", "pruned", "repaired", "healed", "mitigated")
    expected = [
        (model, said) for panel in SHARES for model, said in zip(models, ("100.0", *panel), strict=True)
    ]
    for title, (model, said) in zip(found[4:], expected, strict=True):
        assert title.startswith(f"{model}, kept\n{said}")


@pytest.mark.parametrize("draw", [overview, overview_narrow])
def test_the_legend_counts_layers_and_the_line_of_the_paper_is_named(draw: Any, records: Records) -> None:
    text = words(drawn_as(draw, records))
    for said in ("removed: 1 of 4", "repaired (refitted): 2", "trained by healing: 3", "90 %",
                 "trained by mitigation: 1 of the dense model", "dense, mitigated"):  # fmt: skip
        assert said in text


def test_a_training_of_the_last_model_is_a_step_of_its_own(records: Records) -> None:
    records["mitigation"]["base"] = "healed"
    text = words(drawn_as(overview, records))
    assert "healed, mitigated" not in text
    assert " mitigated " in text


def test_steps_that_are_off_have_no_mark_and_no_row() -> None:
    whole = run_records()
    without_repair(whole)
    whole["healing/figures.json"] = {"enabled": False}
    del whole["mitigation/figures.json"]["retention"]  # a run of an earlier version
    found = titles(drawn_as(overview, named(whole)))
    assert found[:2] == ["layer 0: unchanged", "layer 1: unchanged"]
    assert [title.partition(",")[0] for title in found[4:]] == ["dense", "pruned"] * 3
    assert "refit" not in picture_words(named(whole))


@pytest.mark.parametrize(
    ("depth", "draw", "lines"), [(80, overview, 2), (80, overview_narrow, 6), (2, overview, 1)]
)
def test_a_deep_model_takes_several_lines_and_every_layer_keeps_its_number(
    records: Records, depth: int, draw: Any, lines: int
) -> None:
    records["card"]["layers"] = depth
    records["pruned"]["provenance"]["removed"] = [0]
    records["repair"]["fit"]["projections"] = []
    records["healing"]["training"] |= {"dense_layers": [1]}
    records["mitigation"]["training"] = training([0])
    drawing = drawn_as(draw, records)
    numbers: dict[str, set[str]] = {}
    for text in drawing.iter(f"{SVG}text"):
        place = f"{text.get('y')}{text.get('transform', '').rpartition(' ')[2]}"
        numbers.setdefault("".join(text.itertext()), set()).add(place)
    assert {str(layer) for layer in range(depth)} <= numbers.keys()
    assert len({place for layer in range(1, depth) for place in numbers[str(layer)]}) == lines


def test_a_share_without_a_value_is_a_reason_not_a_mark(records: Records) -> None:
    for table in (
        records["evaluation"]["retention"],
        records["evaluation"]["repaired"]["retention"],
        records["healing"]["retention"]["after"],
        records["mitigation"]["retention"],
    ):
        table["classification"]["sentiment"] |= {"n": 4, "retention": entry(None)}
    drawing = drawn_as(overview, records)
    assert "too few reviews to say (4)" in words(drawing)
    assert len(titles(drawing)) == 4 + 2 * 5 + 1
    assert "sentiment: too few reviews to say (4)" in picture_words(records)


def test_the_words_hold_what_the_picture_shows(records: Records) -> None:
    said = picture_words(records)
    assert said.startswith(
        "A strip of 4 layers. removed: 2; repaired (refitted): 1, 3; trained by healing: 0, 1, 3;"
    )
    assert (
        "answers: pruned 50.0\u00a0%, repaired 56.2\u00a0%, healed 62.5\u00a0%, dense, mitigated 93.8" in said
    )
