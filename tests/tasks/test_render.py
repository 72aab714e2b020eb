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
from tasks.report.words.evidence import MARKS
from tasks.report.words.wording import significant
from tests.tasks.report_records import (
    GENERATED,
    LAYERS,
    SETS,
    Records,
    entry,
    run_records,
    times,
    without_repair,
    write_run,
)

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
                "tasks.render.write_figures", lambda _records, _folder: dict.fromkeys(DRAWINGS, "<svg></svg>")
            )
        return write_run(records, tmp_path)

    return run


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
    assert "Not measured: switched off (speed.enabled)." in page.text
    assert "Not measured: speed, answers longer than" in page.text
    card = (tmp_path / "reports" / "model_card.md").read_text(encoding="utf-8")
    assert "- How fast it is was not measured.\n" in card
    assert "../data/times" not in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert not (tmp_path / "data" / "times").exists()


def test_the_card_holds_what_the_evaluation_measured(render: Any, tmp_path: Path) -> None:
    render()
    card = (tmp_path / "reports" / "model_card.md").read_text(encoding="utf-8")
    assert "| nq, accuracy (n = 60, judge f1) | 0.500 | 0.250 | 50.0% |\n" in card
    assert "| sentiment, accuracy (n = 40) | 0.500 | 0.250 | 50.0% |\n" in card
    assert "| test text, nats a token (128 tokens) | 3.000 | 3.750 | 80.0% |\n" in card
    assert "| 2 | 0.1 | removed |\n" in card
    assert "## What the healed model keeps: another checkpoint, made from this one\n" in card
    assert "| nq, accuracy (n = 60, judge f1) | 0.500 | 0.312 | 62.5% |\n" in card
    assert "| test text, nats a token (128 tokens) | 3.000 | 3.250 | 92.3% |\n" in card
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
    assert page.tags.count("figure") == len(DRAWINGS)
    assert page.tags.count("svg") == len(DRAWINGS) + 1, "the first one is drawn for narrow screens, too"


def test_figures_stand_in_the_papers_order(drawn: tuple[Path, list[Path]]) -> None:
    page = Page(drawn[0] / "index.html")
    figures = [name.removeprefix("figure-") for name in page.ids if name.startswith("figure-")]
    assert figures[0] == "overview"
    assert figures[1:6] == ["scores", "traversal", "layers", "activations", "sparsity"]
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
                                   "f1 (token F1 >= 0.5; 1606.05250; agreement with GPT-4 unknown for "
                                   "this set)"]  # fmt: skip
    text = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert "nq: 1 row was left out: 1 asked again a question of another row." in text
    layer = page.row("2", "removed")
    # relative variance 1 * (2 + 1), share below (2 + 1) of 32 values, three scores
    assert layer == ["2", "removed", "403.4", "9.4\u00a0%", "0.1000", "1.000", "1.000"]
    accuracy = next(row for row in page.rows if "n = 60" in row[0] and row[0].startswith("nq"))
    assert [" ".join(cell.split()) for cell in accuracy[1:]] == [
        "accuracy", "50.0 % [45.0, 55.0]", "25.0 % [20.0, 30.0]",
        "\u221225.0 points [\u221230.0, \u221220.0]",
        "▼ worse",
    ]  # fmt: skip


def test_a_fitted_judge_has_its_agreement_and_what_to_expect(
    records: Records, render: Any, tmp_path: Path
) -> None:
    sets = records["evaluation/figures.json"]["dense"]["sets"]
    sets["nq"] = sets["nq"] | {"judge": "fitted"}
    render()
    cell = Page(tmp_path / "reports" / "index.html").row("nq", "9")[9]
    said = "kappa 0.74 with GPT-4 on models that its fit has not seen, 0.70 on models that nobody chose its"
    assert said in cell


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
        "repaired_nll": {"avss": 3.5, "avss_output": 9.0, "traversal": 3.375},
        "same_choice": {"avss": 0.75},
    }
    assert summary["pruned"]["wikiqa"] == {
        "accuracy": 0.25, "accuracy_at_50": 0.25, "coverage_at_50": 0.25, "ece": 0.2, "brier": 0.2,
        "exact_match": 0.125,
    }  # fmt: skip
    assert summary["layers"] == {"dense": 4, "pruned": 3}
    assert summary["parameters"] == {
        "dense": 1000, "pruned": 800, "repaired": 800, "healed": 800, "mitigated": 1000,
    }  # fmt: skip
    assert summary["sentiment"] == {
        "dense": 0.5, "pruned": 0.25, "repaired": 0.3125, "healed": 0.375, "mitigated": 0.5,
    }  # fmt: skip
    assert summary["sentiment_auroc"]["repaired"] == 0.5625
    assert summary["text"]["repaired"] == math.exp(3.5)
    assert summary["repaired"]["nq"]["accuracy"] == 0.3125
    assert summary["healed"]["nq"]["accuracy"] == 0.375
    same = {"sentiment": 0.75, "sentiment_over_chance": 0.5, "nll": 0.8, "preference": 0.95, "gold_loss": 0.9}
    assert summary["healing"] == {
        "tokens": 1200,
        "validation_loss": 1.625,
        "kept": {"before": {"generation": 0.5625, **same}, "after": {"generation": 0.625, **same}},
    }
    assert summary["kept"].keys() == {"pruned", "repaired", "healed", "mitigated"}
    by_set = {"accuracy": 0.5625, "preference": 0.95, "gold_loss": 0.9}
    assert summary["kept"]["repaired"] == {
        "generation": 0.5625, **same, "sets": {"nq": by_set, "wikiqa": by_set},
    }  # fmt: skip
    assert summary["text"]["mitigated"] == math.exp(3.01)


def test_a_figure_without_a_value_is_a_dash_and_not_in_the_summary(
    records: Records, render: Any, tmp_path: Path
) -> None:
    records["evaluation/figures.json"]["dense"]["sentiment"]["accuracy"] = entry(None)
    summary, _ = render()
    assert summary["sentiment"].keys() == {"pruned", "repaired", "healed", "mitigated"}
    row = Page(tmp_path / "reports" / "index.html").row("dense", "3.000")
    assert row[6:8] == ["\u2014", "0.750 [0.700, 0.800]"]


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


def test_both_sources_stand_on_the_page(records: Records, render: Any, tmp_path: Path) -> None:
    localization = records["localization.json"]
    localization["answers"] = {name: {"supplied": {"questions": 6}, "generated": GENERATED} for name in SETS}
    own = {"values": [1.5] * LAYERS, "low": [1.25] * LAYERS, "high": [1.75] * LAYERS}
    sets = localization["sets"]
    localization["sources"] = {"generated": {"eavss_contrast": own}, "supplied": sets["nq"]}
    localization["source_agreement"] = {"eavss_contrast": 0.25}
    localization["probe_auroc"] = [None] * LAYERS
    render("eavss")
    page = Page(tmp_path / "reports" / "index.html")
    assert page.errors == []
    assert "14 of 80 questions" in page.text
    assert "the two sources' rankings of the layers: eavss_contrast 0.25." in page.text
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
        "headline.json",
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
    shares = ["50.0 % [45.0, 55.0]", "56.2 % [51.2, 61.3]", "62.5 % [57.5, 67.5]"]
    assert kept == ["mean of the sets", *shares]
    text = " ".join(page.text.split())
    assert "1,200 tokens: 500 of questions, 700 of text." in text
    assert "that of step 2 of 2." in text
    assert "loss on test text fell from 3.500 to 3.250 nats per token by healing on 1,200 tokens" in text
    assert f"mean of the sets: {shares[1]} before, {shares[2]} after" in text
    assert "of the repaired model, 64 parameters, trained towards" in text
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


def test_repair_stands_on_the_page_with_what_it_changed(render: Any, tmp_path: Path) -> None:
    render()
    page = Page(tmp_path / "reports" / "index.html")
    text = " ".join(page.text.split())
    assert "3 of 4 projections on 2,000 tokens: 800 of questions, 1,200 of text." in text
    assert "fell from 3.750 to 3.500 nats per token by refitting 3 projections to 2,000 tokens" in text
    assert page.row("1", "self_attn.o_proj") == ["1", "self_attn.o_proj", "stays", "1.000"]
    assert page.row("3", "mlp.down_proj") == ["3", "mlp.down_proj", "0.0100", "0.500"]
    assert page.row("repaired", "3.500")[7] == "0.562 [0.512, 0.613]"
    assert "2 tensors refitted, all others equal the pruned one's" in text
    assert page.row("nq", "repaired")[0] == "nq", "a row of its own among the figures of answers"


@pytest.mark.parametrize("healing", [True, False])
def test_a_run_without_repair_shows_none(
    records: Records, render: Any, tmp_path: Path, healing: bool
) -> None:
    without_repair(records)
    if not healing:
        records["healing/figures.json"] = {"enabled": False}
        records.pop("healed/certificate.json")
    summary, files = render("overview", "retention", "repair", "pruning")
    page = Page(tmp_path / "reports" / "index.html")
    assert page.errors == []
    assert "repair" not in page.ids
    text = " ".join(page.text.split())
    assert "repaired" not in text.lower()
    assert "Not measured: repair after pruning, " in text
    assert not {"repaired"} & {*summary, *summary["retention"], *summary["kept"], *summary["parameters"]}
    drawing = ElementTree.parse(tmp_path / "reports" / "figures" / "overview.svg").getroot()
    assert ("healed" in "".join(drawing.itertext())) == healing
    assert not [path for path in files if path.stem == "repair"]
    if healing:
        assert "of the pruned model, 64 parameters, trained towards" in text
        assert "fell from 3.750 to 3.250 nats per token by healing" in text


def test_a_share_of_a_handful_of_right_answers_is_not_shown(
    records: Records, render: Any, tmp_path: Path
) -> None:
    evaluation, healing = records["evaluation/figures.json"], records["healing/figures.json"]
    tables = [evaluation["retention"], evaluation["repaired"]["retention"], *healing["retention"].values()]
    for table in tables:
        table["generation"]["sets"]["nq"] |= {"n": 50, "accuracy_before": 0.06}
        table["generation"]["sets"]["wikiqa"]["accuracy_before"] = 0.1
        table["generation"]["mean"] = entry(None)
    dense = evaluation["dense"]["sets"]
    evaluation["dense"]["sets"] = dense | {"nq": dense["nq"] | {"n": 50, "accuracy": entry(0.06)}}
    for changes in (evaluation["pruned_against_dense"], evaluation["repaired"]["against_dense"]):
        changes["nq"] |= {"n": 50, "retention": 0.33}
        changes["wikiqa"]["retention"] = 0.5
    summary, _ = render("overview", "retention")
    page = Page(tmp_path / "reports" / "index.html")
    said = "the dense model answers 3 of 50: too few for a share"
    assert page.row("nq, accuracy") == ["nq, accuracy", *[said] * 3]
    assert page.row("nq, preference")[1] == "95.0\u00a0% [90.0, 100.0]"
    assert [" ".join(cell.split()) for cell in page.row("nq", "6.0\u00a0%")] == ["nq", "6.0 %", said]
    assert "accuracy kept: the model before answers 3 of 50: too few for a share" in page.text
    assert summary["retention"]["pruned"] == {"wikiqa": 0.5}
    assert "accuracy" not in summary["kept"]["pruned"]["sets"]["nq"]
    drawing = ElementTree.parse(tmp_path / "reports" / "figures" / "overview.svg").getroot()
    assert "no set has enough right answers" in "".join(drawing.itertext())
    card = (tmp_path / "reports" / "model_card.md").read_text(encoding="utf-8")
    assert "| nq, accuracy (n = 60, judge f1) | 0.060 | 0.250 | - |\n" in card


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
    assert [row[1] for row in rows] == ["✗ failed", "✓ passed", "✓ passed", "✓ passed"]


def test_an_explicit_list_is_not_taken_for_the_scores_choice(
    records: Records, render: Any, tmp_path: Path
) -> None:
    records["pruned/certificate.json"]["provenance"] |= {"removed": [1], "score": "explicit list"}
    render()
    page = Page(tmp_path / "reports" / "index.html")
    assert "1 of 4 layers were removed (layer 1, chosen by explicit list)" in page.text
    assert "which would have removed 2" in page.text
    assert page.row("1", "removed")


def test_the_controls_are_shown(records: Records, render: Any, tmp_path: Path) -> None:
    mitigation = records["mitigation/figures.json"]
    mitigation["controls"] |= {name: mitigation["controls"]["random_1"] for name in ("lowest", "all")}
    mitigation["against_controls"] = {"all": mitigation["against_controls"]["random"]}
    render()
    page = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert "random_2" in page
    assert "as many layers drawn at random" in page
    assert "eavss_contrast 0.33" in page
    assert "Left out of the training: no wrong answer (2)." in page
    assert "Not trained beside the chosen layers: cross_entropy" in page


def test_few_questions_and_no_right_answer_are_marked(records: Records, render: Any, tmp_path: Path) -> None:
    evaluation = records["evaluation/figures.json"]
    for name in ("dense", "pruned"):
        evaluation[name]["sets"] = {
            **evaluation[name]["sets"],
            "nq": {**evaluation[name]["sets"]["nq"], "n": 4},
        }
    wikiqa = evaluation["pruned"]["sets"]["wikiqa"]
    evaluation["pruned"]["sets"]["wikiqa"] = {**wikiqa, "accuracy": entry(0.0)}
    evaluation["pruned_against_dense"]["wikiqa"] |= {"ece": entry(-0.2)}
    render()
    page = Page(tmp_path / "reports" / "index.html")
    tones = [row[-1].strip() for row in page.rows if row[-1].strip().startswith("\u00b7")]
    assert tones.count(MARKS["hollow"]) == 1
    assert "25 differences are tested on this page" in " ".join(page.text.split())
    assert MARKS["unsure"] in tones
    assert not page.errors
