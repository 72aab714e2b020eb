import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from avss_core.files.digests import digest_path
from avss_core.files.writing import write_json
from avss_core.statistics.statistics import TOKEN_FIGURES
from tasks.report.figures.figures import DRAWINGS
from tasks.report.words.control_wording import control_verdicts
from tasks.report.words.evidence import NOT_SURE, called, direction
from tasks.report.words.wording import (
    answer_lines,
    change_text,
    figure_text,
    interval_text,
    number,
    significant,
    verdicts,
)
from tests.tasks.report_records import FIGURES, LAYERS, SETS, Records, entry, run_records, times, write_run

VOID = {"meta", "br", "hr", "img", "link", "input", "col"}


@pytest.fixture
def records() -> Records:
    """The records of the run, to change."""
    return run_records()


@pytest.fixture
def render(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Records, list[Path]]]:
    """Write the report of the records; figures take seconds, so those alone are drawn that a test names."""

    def run(*drawn: str) -> tuple[Records, list[Path]]:
        drawings = {name: DRAWINGS[name] for name in drawn}
        monkeypatch.setattr("tasks.report.figures.figures.DRAWINGS", drawings)
        if not drawn:
            monkeypatch.setattr(
                "tasks.render.write_figures", lambda _found, _folder: dict.fromkeys(DRAWINGS, "<svg></svg>")
            )
        return write_run(records, tmp_path)

    return run


def judged(records: Records) -> Records:
    """The records that verdicts are drawn from, by the names that the page gives them."""
    files = {"evaluation": "evaluation/figures.json", "mitigation": "mitigation/figures.json",
             "healing": "healing/figures.json", "pruned": "pruned/certificate.json",
             "card": "dense/model_card.json"}  # fmt: skip
    return {name: records[file] for name, file in files.items()}


class Page(HTMLParser):
    """The structure of a page: errors, references, ids, table rows, and the text outside of figures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.errors: list[str] = []
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name.rpartition(":")[2] in ("href", "src"):
                self.references.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.errors.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if not {"style", "script", "svg"} & set(self.open):
            self.text += data
            if {"td", "th"} & set(self.open):
                self.rows[-1][-1] += data

    def row(self, *start: str) -> list[str]:
        found = [row for row in self.rows if [cell.strip() for cell in row[: len(start)]] == list(start)]
        assert len(found) == 1, (start, found)
        return [cell.strip() for cell in found[0]]


def test_sizes_stand_on_the_page_and_times_do_not(render: Any, tmp_path: Path) -> None:
    render()
    page = Page(tmp_path / "reports" / "index.html")
    assert page.row("pruned", "3 75.0\u00a0%")[1:] == [
        "3 75.0\u00a0%", "800 80.0\u00a0%", "3,200 80.0\u00a0%", "48 75.0\u00a0%"
    ]  # fmt: skip


def test_times_are_a_picture_beside_the_page_of_its_own_checkpoint(
    drawn: tuple[Path, list[Path]], render: Any, tmp_path: Path
) -> None:
    (picture,) = (drawn[0].parent / "data" / "times").iterdir()
    assert f'src="../data/times/{picture.name}"' in (drawn[0] / "index.html").read_text(encoding="utf-8")
    text = "".join(ElementTree.parse(picture).getroot().itertext())
    assert "100 to 125 tokens a second" in text
    assert "1.25\u00d7 [" in text
    write_json(tmp_path / "speed.json", times("another checkpoint"))
    render()
    assert not (tmp_path / "data" / "times").exists()


def test_speed_that_was_not_measured_is_said_to_be(records: Records, render: Any, tmp_path: Path) -> None:
    for size in records["sizes.json"].values():
        size["cache_bytes_per_token"] = None
    write_json(tmp_path / "pruned/certificate.json", records["pruned/certificate.json"])
    checkpoint = digest_path(tmp_path / "pruned/certificate.json")
    write_json(tmp_path / "speed.json", {"enabled": False, "checkpoint": checkpoint})
    render()
    page = Page(tmp_path / "reports" / "index.html")
    assert page.row("pruned", "3 75.0\u00a0%")[-1] == "not measured"
    assert "Not measured: the run was told not to (speed.enabled)." in page.text
    assert "Not measured: speed, answers longer than" in page.text
    card = (tmp_path / "reports" / "model_card.md").read_text(encoding="utf-8")
    assert "- How fast it is was not measured.\n" in card
    assert "../data/times" not in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert not (tmp_path / "data" / "times").exists()


def test_the_card_holds_what_the_evaluation_measured(render: Any, tmp_path: Path) -> None:
    render()
    card = (tmp_path / "reports" / "model_card.md").read_text(encoding="utf-8")
    assert "| nq, accuracy (n = 60, judge f1) | 0.500 | 0.250 | - |\n" in card
    assert "| sentiment, accuracy (n = 40) | 0.500 | 0.250 | 50.0% |\n" in card
    assert "| test text, nats a token (128 tokens) | 3.000 | 3.750 | 80.0% |\n" in card
    assert "| 2 | 0.1 | removed |\n" in card
    assert "How fast" not in card


def test_page_is_whole_and_stands_alone(drawn: tuple[Path, list[Path]]) -> None:
    folder, _ = drawn
    page = Page(folder / "index.html")
    assert page.errors == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    inside = [reference[1:] for reference in page.references if reference.startswith("#")]
    assert set(inside) <= set(page.ids)
    outside = {reference for reference in page.references if not reference.startswith("#")}
    (picture,) = [reference for reference in outside if reference.startswith("../data/times/")]
    assert outside == {
        picture,
        "summary.json",
        "model_card.md",
        *(f"tables/{path.name}" for path in (folder / "tables").iterdir()),
        *(f"figures/{name}.{kind}" for name in DRAWINGS for kind in ("png", "svg")),
    }
    assert all((folder / reference).is_file() for reference in outside)
    assert page.tags.count("script") == 1
    assert "url(http" not in (folder / "index.html").read_text(encoding="utf-8")


def test_every_figure_is_there_as_svg_and_png_and_on_the_page(drawn: tuple[Path, list[Path]]) -> None:
    folder, files = drawn
    assert files == [
        *(folder / "figures" / f"{name}.{kind}" for name in sorted(DRAWINGS) for kind in ("png", "svg")),
        *sorted((folder / "tables").glob("*.csv")),
        folder / "index.html",
        folder / "run.json",
    ]
    assert (folder / "tables" / "scores.csv") in files
    for name in DRAWINGS:
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        drawing = ElementTree.parse(folder / "figures" / f"{name}.svg").getroot()
        assert [title.text for title in drawing.iter("{http://www.w3.org/2000/svg}title")]
    page = Page(folder / "index.html")
    assert page.tags.count("svg") == page.tags.count("figure") == len(DRAWINGS)


def test_figures_stand_in_the_papers_order(drawn: tuple[Path, list[Path]]) -> None:
    page = Page(drawn[0] / "index.html")
    figures = [name.removeprefix("figure-") for name in page.ids if name.startswith("figure-")]
    assert figures[:5] == ["scores", "traversal", "layers", "activations", "sparsity"]
    assert re.findall(r"Figure (\d)\.", page.text) == ["1", "2", "3", "4", "5"]


def test_same_records_give_the_same_bytes(
    drawn: tuple[Path, list[Path]], records: Records, tmp_path: Path
) -> None:
    write_run(records, tmp_path)
    assert digest_path(tmp_path / "reports") == digest_path(drawn[0])


def test_what_was_not_measured_is_left_out_and_named(records: Records, render: Any, tmp_path: Path) -> None:
    del records["scores.json"]["readings"]["traversal"]
    records["scores.json"]["stability"] = {}
    records["evaluation/figures.json"]["layers"] = None
    render("traversal", "layers", "stability", "training")
    page = Page(tmp_path / "reports" / "index.html")
    assert [path.name for path in (tmp_path / "reports" / "figures").iterdir()] == [
        "training.png",
        "training.svg",
    ]
    assert "Figure 2 is left out: traversal was not measured" in page.text
    assert "Figure 3 is left out: no layer was read out" in page.text
    assert "stability" not in page.ids
    assert "#stability" not in page.references


@pytest.mark.parametrize("part", ["questions", "sentiment", "text"])
def test_a_sample_is_named_first_and_what_is_the_users_own(
    records: Records, render: Any, tmp_path: Path, part: str
) -> None:
    origin = records["prepared/manifest.json"]["origin"]
    origin |= {name: "sample" if name == part else "path" for name in origin}
    sample, own = {
        "questions": ("Questions are", "sentiment and text"),
        "sentiment": ("Sentiment is", "nq, wikiqa and text"),
        "text": ("Text is", "nq, wikiqa and sentiment"),
    }[part]
    render()
    text = Page(tmp_path / "reports" / "index.html").text.split("Skip to the report", 1)[1]
    said = f"{sample} the project's sample; only the figures of {own} are of your data."
    assert text.strip().startswith(said)


def test_a_run_on_samples_alone_says_so_first(records: Records, render: Any, tmp_path: Path) -> None:
    origin = records["prepared/manifest.json"]["origin"]
    origin |= dict.fromkeys(origin, "sample")
    render()
    text = Page(tmp_path / "reports" / "index.html").text.split("Skip to the report", 1)[1].strip()
    assert text.startswith("This is a sample run: its questions, sentiment and text come from the small sets")


def test_no_other_run_is_called_a_sample(render: Any, tmp_path: Path) -> None:
    render()
    assert "sample run" not in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")


def test_cells_hold_the_records_numbers(render: Any, tmp_path: Path) -> None:
    render()
    page = Page(tmp_path / "reports" / "index.html")
    assert page.row("healed", "3.250")[2] == significant(math.exp(3.25))
    assert page.row("after", "3.010")[4] == significant(math.exp(3.01))
    assert page.row("nq", "9") == ["nq", "9", "3", "2", "60", "60 small n", "1", "0", "5",
                                   "f1 (token F1 >= 0.5; 1606.05250; agreement with people unknown for "
                                   "this set)"]  # fmt: skip
    layer = page.row("2", "removed")
    # relative variance 1 * (2 + 1), share below (2 + 1) of 32 values, three scores
    assert layer == ["2", "removed", "403.4", "9.4\u00a0%", "0.1000", "1.000", "1.000"]
    accuracy = next(row for row in page.rows if "n = 60" in row[0] and row[0].startswith("nq"))
    assert [" ".join(cell.split()) for cell in accuracy[1:]] == [
        "accuracy", "50.0 % [45.0, 55.0]", "25.0 % [20.0, 30.0]",
        "\u221225.0 points [\u221230.0, \u221220.0]",
        "▼ worse",
    ]  # fmt: skip


def test_activations_are_read_by_name(render: Any, tmp_path: Path) -> None:
    render()
    rows = [row for row in Page(tmp_path / "reports" / "index.html").rows if len(row) == 11 and row[0] == "3"]
    l1, l2 = (significant(4 * (TOKEN_FIGURES.index(name) + 1)) for name in ("l1", "l2"))
    # Variance 32 * (3 + 2) / 32 and 4 small values of 32, for two sources and two sites. Two parts of 32
    # values with a mean of 0 have a Frobenius norm of sqrt(2 * 32 * 5), over the root of 16 tokens.
    assert rows == [["3", *["5.000", l1, l2, f"{math.sqrt(20):.4g}", "12.5\u00a0%"] * 2]] * 2


def test_summary_holds_numbers_alone_and_equals_its_file(render: Any, tmp_path: Path) -> None:
    summary, _ = render()
    text = (tmp_path / "reports" / "summary.json").read_text(encoding="utf-8")
    assert json.loads(text) == summary
    assert "NaN" not in text
    assert "null" not in text
    assert summary["score"] == {
        "dense_nll": 3.0,
        "removal_nll": {"avss": 3.5, "avss_output": 9.25, "traversal": 3.625},
        "same_choice": {"avss": 0.75},
    }
    assert summary["pruned"]["wikiqa"] == {
        "accuracy": 0.25, "accuracy_at_50": 0.25, "coverage_at_50": 0.25, "ece": 0.2, "brier": 0.2,
        "exact_match": 0.125,
    }  # fmt: skip
    assert summary["layers"] == {"dense": 4, "pruned": 3}
    assert summary["parameters"] == {"dense": 1000, "pruned": 800, "healed": 800, "mitigated": 1000}
    assert summary["sentiment"] == {"dense": 0.5, "pruned": 0.25, "healed": 0.375, "mitigated": 0.5}
    assert summary["healed"]["nq"]["accuracy"] == 0.375
    assert summary["healing"] == {
        "tokens": 1200,
        "validation_loss": 1.625,
        "kept": {
            "before": {"generation": 0.5, "sentiment": 0.75, "sentiment_over_chance": 0.5, "nll": 0.8},
            "after": {"generation": 0.625, "sentiment": 0.75, "sentiment_over_chance": 0.5, "nll": 0.8},
        },
    }
    assert summary["text"]["mitigated"] == math.exp(3.01)


def test_a_figure_without_a_value_is_a_dash_and_not_in_the_summary(
    records: Records, render: Any, tmp_path: Path
) -> None:
    records["evaluation/figures.json"]["dense"]["sentiment"]["accuracy"] = entry(None)
    summary, _ = render()
    assert summary["sentiment"].keys() == {"pruned", "healed", "mitigated"}
    rows = [row for row in Page(tmp_path / "reports" / "index.html").rows if row[:2] == ["dense", "3.000"]]
    assert [row[6] for row in rows] == ["\u2014", "\u2014"]


def test_markup_in_names_is_shown_not_run(records: Records, render: Any, tmp_path: Path) -> None:
    records["dense/model_card.json"]["name"] = "<script>alert(1)</script>"
    render()
    page = Page(tmp_path / "reports" / "index.html")
    assert page.tags.count("script") == 1
    assert "Layers of <script>alert(1)</script>: scored" in page.text


def test_a_set_named_like_markup_or_mathematics_is_shown_not_run(
    records: Records, render: Any, tmp_path: Path
) -> None:
    name = "<script>alert('a$b$')</script>\\c"
    records.update(json.loads(json.dumps(records).replace('"nq"', json.dumps(name))))
    render("pruning", "reliability", "activations")
    page = Page(tmp_path / "reports" / "index.html")
    assert page.errors == []
    assert page.tags.count("script") == 1
    assert name in page.text
    drawing = ElementTree.parse(tmp_path / "reports" / "figures" / "pruning.svg").getroot()
    assert name in "".join(drawing.itertext())
    assert {mark.get("data-set") for mark in drawing.iter()} == {None, name, "wikiqa"}


OWN = {"questions": 40, "both_kinds": 7, "only_right": 3, "only_wrong": 28, "wordless": 2, "answers": 200,
       "right": 30, "wrong": 90, "empty": 20, "duplicate": 60, "judge": "fitted", "shots": 5}  # fmt: skip


def test_where_the_answers_come_from_is_said_with_counts() -> None:
    (line,) = answer_lines({"nq": {"supplied": {"questions": 6}}, "sciq": {"supplied": {"questions": 5}}})
    assert line == "supplied with the data: an accepted and a wrong answer to 11 questions"
    (line,) = answer_lines({"nq": {"generated": OWN}, "sciq": {"generated": OWN | {"judge": "f1"}}})
    assert line == (
        "the model's own, judged by fitted, f1: a right and a wrong answer to 14 of 80 questions (nq 7, "
        "sciq 7); 6 were answered only right, 56 only wrong, 4 without a word. Of 400 answers 60 are "
        "right, 180 wrong, 40 empty and 120 repeat another"
    )
    assert len(answer_lines({"nq": {"supplied": {"questions": 6}, "generated": OWN}})) == 2


def test_both_sources_stand_on_the_page(records: Records, render: Any, tmp_path: Path) -> None:
    found = records["localization.json"]
    found["answers"] = {name: {"supplied": {"questions": 6}, "generated": OWN} for name in SETS}
    own = {"values": [1.5] * LAYERS, "low": [1.25] * LAYERS, "high": [1.75] * LAYERS}
    found["sources"] = {"generated": {"eavss_contrast": own}, "supplied": found["sets"]["nq"]}
    found["source_agreement"] = {"eavss_contrast": 0.25}
    found["probe_auroc"] = [None] * LAYERS
    render("eavss")
    page = Page(tmp_path / "reports" / "index.html")
    assert page.errors == []
    assert "14 of 80 questions" in page.text
    assert "by the two sources: eavss_contrast 0.25." in page.text
    row = next(row for row in page.rows if row[0] == "2" and "1.50 [1.25, 1.75]" in row)
    # One reading of all answers, two sets, two sources, no probe.
    assert row[1:] == [
        *["0.300 [0.200, 0.400]"] * 3,
        "1.50 [1.25, 1.75]",
        "0.300 [0.200, 0.400]",
        "\u2014",
    ]
    drawn = (tmp_path / "reports" / "figures" / "eavss.svg").read_text(encoding="utf-8")
    assert "generated answers" in drawn
    assert "supplied answers" in drawn


def test_an_existing_report_is_replaced(render: Any, tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "old.txt").touch()
    render()
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == [
        "index.html",
        "model_card.md",
        "run.json",
        "summary.json",
        "tables",
    ]


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("prepared/manifest.json", "prepare"),
        ("scores.json", "score"),
        ("mitigated/certificate.json", "mitigate"),
    ],
)
def test_a_missing_record_is_named(
    records: Records, render: Any, tmp_path: Path, file: str, stage: str
) -> None:
    del records[file]
    with pytest.raises(FileNotFoundError, match=rf"{re.escape(file)} is not there; the stage {stage} "):
        render()
    assert not (tmp_path / "reports").exists()


def test_healing_stands_on_the_page_with_what_is_kept_before_and_after(render: Any, tmp_path: Path) -> None:
    render()
    page = Page(tmp_path / "reports" / "index.html")
    kept = [" ".join(cell.split()) for cell in page.row("mean of the sets")]
    assert kept == ["mean of the sets", "50.0 % [45.0, 55.0]", "62.5 % [57.5, 67.5]"]
    text = " ".join(page.text.split())
    assert "1,200 tokens: 500 of questions, 700 of text." in text
    assert "that of step 2 of 2." in text
    assert "Healing on 1,200 tokens brings the pruned model's loss on test text from 3.750 to 3.250" in text
    assert "mean of the sets: 50.0 % [45.0, 55.0] before, 62.5 % [57.5, 67.5] after" in text
    assert "healing after pruning" not in text


def test_a_run_without_healing_shows_none(records: Records, render: Any, tmp_path: Path) -> None:
    records["healing/figures.json"] = {"enabled": False}
    records.pop("healed/certificate.json")
    summary, files = render("retention", "pruning", "healing", "coverage")
    page = Page(tmp_path / "reports" / "index.html")
    assert "healing" not in page.ids
    assert "Not measured: healing after pruning, answers" in " ".join(page.text.split())
    assert "healed" not in summary
    assert "healing" not in summary
    assert not [path for path in files if path.name == "healing.png"]
    assert [path for path in files if path.name == "retention.png"]


def test_a_training_of_the_healed_model_is_compared_with_it(
    records: Records, render: Any, tmp_path: Path
) -> None:
    records["mitigation/figures.json"]["base"] = "healed"
    render()
    assert Page(tmp_path / "reports" / "index.html").row("before (healed)")[1] == "3.250"


def test_text_that_fell_short_is_told(records: Records, render: Any, tmp_path: Path) -> None:
    records["healing/figures.json"]["training"]["train"]["text"]["wanted"] = 900
    render()
    text = " ".join(Page(tmp_path / "reports" / "index.html").text.split())
    assert "There was less text than asked for: 700 tokens of 900." in text


def test_a_failed_check_is_shown(records: Records, render: Any, tmp_path: Path) -> None:
    records["pruned/certificate.json"]["checks"][0]["passed"] = False
    render()
    rows = [row for row in Page(tmp_path / "reports" / "index.html").rows if row[0] == "logits"]
    assert [row[1] for row in rows] == ["✗ failed", "✓ passed", "✓ passed"]


def test_an_explicit_list_is_not_taken_for_the_scores_choice(
    records: Records, render: Any, tmp_path: Path
) -> None:
    records["pruned/certificate.json"]["provenance"] |= {"removed": [1], "score": "explicit list"}
    render()
    page = Page(tmp_path / "reports" / "index.html")
    assert "Removing 1 of 4 layers (1), chosen by explicit list" in page.text
    assert "which would have removed 2" in page.text
    assert page.row("1", "removed")


@pytest.mark.parametrize(
    ("figure", "low", "value", "high", "expected"),
    [
        ("accuracy", 0.01, 0.02, 0.03, "better"),
        ("accuracy", -0.03, -0.02, -0.01, "worse"),
        ("ece", 0.01, 0.02, 0.03, "worse"),
        ("ece", -0.03, -0.02, -0.01, "better"),
        ("brier", -0.03, -0.02, 0.0, "same"),
        ("accuracy", 0.0, 0.02, 0.03, "same"),
        ("accuracy", -0.01, 0.3, 0.6, "same"),
        ("accuracy", 0.0, 0.0, 0.0, "same"),
    ],
)
def test_the_verdict_on_a_change_follows_its_interval(
    records: Records,
    figure: str,
    low: float,
    value: float,
    high: float,
    expected: str,
) -> None:
    change = {"value": value, "low": low, "high": high}
    assert direction(figure, change) == expected
    record = records["mitigation/figures.json"]
    record["mitigated_against_base"]["nq"][figure] = change
    trained = {
        verdict.tone: verdict
        for verdict in verdicts(judged(records))
        if verdict.text.startswith("After training")
    }
    if expected == "same":
        assert [v.text for v in trained.values()] == [
            "After training, none of the 10 figures changed beyond its interval."
        ]
    else:
        assert trained.keys() == {expected, "same"}
        assert trained[expected].text == f"After training, {expected} beyond the interval: 1 of 10 figures."
        assert trained[expected].details[0].endswith(f"({change_text(figure, change)})")
        assert trained["same"].text == "After training, unchanged within the interval: 9 of 10 figures."


@pytest.mark.parametrize(
    ("nll", "half", "tone", "words"),
    [
        (3.75, 0.01, "worse", "raises the loss on test text from 3.000 to 3.750 nats per token."),
        (2.5, 0.01, "better", "lowers the loss on test text from 3.000 to 2.500 nats per token."),
        (3.02, 0.01, "same", "to 3.020 nats per token (the interval of their ratio holds 1)."),
        (3.02, 0.005, "worse", "raises the loss on test text from 3.000 to 3.020 nats per token."),
        (3.75, None, "same", "(the interval of their ratio holds 1)"),
    ],
)
def test_the_headline_follows_the_loss(
    records: Records, nll: float, half: float | None, tone: str, words: str
) -> None:
    evaluation = records["evaluation/figures.json"]
    evaluation["pruned"]["language_modelling"]["nll"] = nll
    kept = {"value": 3 / nll, "low": None, "high": None} if half is None else entry(3 / nll, half)
    evaluation["retention"]["language_modelling"]["nll_retention"] = kept
    headline = verdicts(judged(records))[0]
    assert headline.tone == tone
    assert headline.text.startswith("Removing 1 of 4 layers (2), chosen by avss, ")
    assert words in headline.text
    assert headline.text.endswith("It leaves 800 of 1,000 parameters.")


@pytest.mark.parametrize(
    ("kept", "nll", "tone"),
    [(0.825, 3.6, "same"), (0.95, 3.25, "better"), (0.65, 4.5, "worse"), (None, 3.25, "same")],
)
def test_healing_counts_only_where_what_is_kept_differs_beyond_the_intervals(
    records: Records, kept: float | None, nll: float, tone: str
) -> None:
    healing = records["healing/figures.json"]
    healing["healed"]["language_modelling"]["nll"] = nll
    healing["retention"]["after"]["language_modelling"]["nll_retention"] = entry(kept)
    (found,) = (v for v in verdicts(judged(records)) if v.text.startswith("Healing"))
    assert found.tone == tone


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "\u2014"), (77, "77.00"), (29.7, "29.70"), (0.0, "0.000"), (-1234, "\u22121234")],
)
def test_significant_digits_keep_their_zeros(value: float | None, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("after", "tone"), [(0.25, "worse"), (0.75, "better"), (0.45, "same"), (None, "same")]
)
def test_sentiment_differs_only_where_intervals_are_apart(
    records: Records, after: float | None, tone: str
) -> None:
    evaluation = records["evaluation/figures.json"]
    evaluation["pruned"]["sentiment"]["accuracy"] = entry(after)
    pruned, trained = (v for v in verdicts(judged(records)) if v.text.startswith("Sentiment"))
    assert pruned.tone == tone
    assert "for the dense and" in trained.text
    assert "for the trained model" in trained.text
    assert trained.tone == "same"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2014"),
        (0.0, "0.000"),
        (-0.0001, "0.000"),
        (-1.5, "\u22121.500"),
        (12345.6, "12,345.600"),
        (1, "1.000"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_figures_have_their_unit() -> None:
    assert figure_text("accuracy", 0.125) == "12.5\u00a0%"
    assert figure_text("ece", 0.125) == "0.125"
    assert figure_text("ece", None) == "\u2014"
    assert interval_text("accuracy", entry(None)) == ""
    assert interval_text("brier", entry(0.5)) == "[0.450, 0.550]"
    assert change_text("accuracy", entry(0.25)) == "+25.0\u00a0points [20.0, 30.0]"
    assert change_text("ece", {"value": 1e-6, "low": -1e-6, "high": 2e-6}) == "0.000 [0.000, 0.000]"


def test_the_controls_are_shown_with_the_verdict_that_follows_from_the_intervals(
    records: Records, render: Any, tmp_path: Path
) -> None:
    against = {figure: {"value": 0.0, "low": -0.1, "high": 0.1} for figure in FIGURES}
    sure = {
        "accuracy": {"value": 0.2, "low": 0.1, "high": 0.3},
        "ece": {"value": 0.2, "low": 0.1, "high": 0.3},
    }
    first, second = SETS
    third = "third"
    mitigation = records["mitigation/figures.json"]
    for figures in (mitigation["mitigated"], *(each["figures"] for each in mitigation["controls"].values())):
        figures["sets"] = {**figures["sets"], third: figures["sets"][first]}
    sets = {first: {**against, "brier": {"value": -0.2, "low": -0.3, "high": -0.1}},
            second: against, third: {**against, **sure}}  # fmt: skip
    records["mitigation/figures.json"]["against_controls"] = {"random": sets}
    (verdict,) = control_verdicts(records["mitigation/figures.json"])
    assert verdict.text == (
        "Choosing layers by EAVSS, against layers drawn at random (mean of 2 draws): "
        f"better on {first}; better in some figures and worse in others on {third}; "
        f"no better, within the intervals, on {second}."
    )
    assert verdict.tone == "fact"
    assert verdict.details[0].startswith(
        f"{first}: Brier score \u22120.200 [\u22120.300, \u22120.100]; not certain:"
    )
    assert verdict.details[2].startswith(f"{third}: accuracy +20.0")
    mitigation["controls"] |= {name: mitigation["controls"]["random_1"] for name in ("lowest", "all")}
    records["mitigation/figures.json"]["against_controls"] = {"lowest": {first: sets[first], second: against}}
    (verdict,) = control_verdicts(records["mitigation/figures.json"])
    assert verdict.tone == "better"
    records["mitigation/figures.json"]["against_controls"] = {"all": {second: against}}
    (verdict,) = control_verdicts(records["mitigation/figures.json"])
    assert verdict.tone == "same"
    assert "at a lower rank: no better, within the intervals, on" in verdict.text
    few = {second: {**mitigation["mitigated"]["sets"][second], "n": 19}}
    (verdict,) = control_verdicts({**mitigation, "mitigated": {"sets": few}})
    assert verdict.tone == "unsure"
    assert verdict.text.endswith(f"at a lower rank: too few questions to say ({second}: 19).")
    for figures in (mitigation["mitigated"], *(each["figures"] for each in mitigation["controls"].values())):
        figures["sets"].pop(third, None)
    render()
    page = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert "random_2" in page
    assert "as many layers drawn at random" in page
    assert "eavss_contrast 0.33" in page
    assert "by reason: no wrong answer (2)." in page
    assert "Not trained beside the chosen layers: cross_entropy" in page


@pytest.mark.parametrize(
    ("figure", "n", "accuracies", "expected"),
    [
        ("accuracy", 19, (0.5, 0.25), "unsure"),
        ("accuracy", 20, (0.5, 0.25), "worse"),
        ("accuracy", 20, (0.5, 0.0), "worse"),
        ("brier", 20, (0.5, 0.25), "better"),
        ("brier", 20, (0.5, 0.0), "hollow"),
        ("ece", 20, (0.0, 0.5), "hollow"),
        ("ece", 19, (0.0, 0.5), "unsure"),
    ],
)
def test_a_change_is_called_better_or_worse_only_of_enough_questions_and_a_right_answer(
    figure: str, n: int, accuracies: tuple[float, float], expected: str
) -> None:
    sides = [{"n": n, "accuracy": {"value": value}} for value in accuracies]
    assert called(figure, entry(-0.2), sides) == expected
    assert called("ece", entry(0.0), [{"n": 20, "accuracy": {"value": 0.0}}]) == "same"


def test_findings_of_few_questions_and_of_no_right_answer_say_why(
    records: Records, render: Any, tmp_path: Path
) -> None:
    evaluation = records["evaluation/figures.json"]
    for name in ("dense", "pruned"):
        sets = evaluation[name]["sets"]
        sets["nq"] = {**sets["nq"], "n": 4}
    evaluation["pruned"]["sets"]["wikiqa"] = {
        **evaluation["pruned"]["sets"]["wikiqa"],
        "accuracy": entry(0.0),
    }
    evaluation["pruned_against_dense"]["wikiqa"] |= {"ece": entry(-0.2)}
    evaluation["retention"]["classification"]["sentiment"]["n"] = 3
    evaluation["pruned"]["sentiment"]["n"] = 3
    found = [v for v in verdicts(judged(records)) if v.text.startswith("After pruning")]
    assert [(v.tone, v.text) for v in found] == [
        ("worse", "After pruning, worse beyond the interval: 1 of 5 figures."),
        ("same", f"After pruning, not judged: {NOT_SURE}."),
        ("same", "After pruning, unchanged within the interval: 3 of 5 figures."),
        ("unsure", "After pruning, too few questions to say (nq: 4)."),
    ]
    (feeling,) = (v for v in verdicts(judged(records)) if v.text.startswith("Sentiment of the dense"))
    assert (feeling.tone, feeling.text) == (
        "unsure", "Sentiment of the dense and the pruned model: too few reviews to say (3).",
    )  # fmt: skip
    render()
    page = Page(tmp_path / "reports" / "index.html")
    tones = [row[-1].strip() for row in page.rows if row[-1].strip().startswith("·")]
    assert tones.count("· no answer is right") == 1
    assert "20 differences are tested on this page" in " ".join(page.text.split())
    assert "· too few questions" in tones
    assert not page.errors
