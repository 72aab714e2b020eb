import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from avss_core.digests import digest_path, write_json
from avss_core.moments import Moments
from avss_core.statistics import BLOCK_FIGURES, TOKEN_FIGURES, LayerStatistics, SiteStatistics
from tasks.control_wording import control_verdicts
from tasks.figures import DRAWINGS
from tasks.report import write_report
from tasks.wording import (
    MORE_FIGURES,
    answer_lines,
    change_text,
    direction,
    figure_text,
    interval_text,
    number,
    significant,
    verdicts,
)

LAYERS, SETS, REMOVED = 4, ("nq", "wikiqa"), [2]
FIGURES = ("accuracy", "accuracy_at_50", "coverage_at_50", "ece", "brier")
VOID = {"meta", "br", "hr", "img", "link", "input", "col"}

Records = dict[str, Any]


def entry(value: float | None, half: float = 0.05) -> Records:
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": value - half, "high": value + half}


def site(layer: int) -> SiteStatistics:
    means = torch.arange(1.0, 1.0 + len(TOKEN_FIGURES), dtype=torch.float64) * (layer + 1)
    tokens = Moments(8, means, torch.ones_like(means))
    values = Moments(
        32, torch.zeros(1, dtype=torch.float64), torch.tensor([32.0 * (layer + 2)], dtype=torch.float64)
    )
    return SiteStatistics(values, tokens, {1e-5: 0}, {0.1: layer + 1}, {0.1: layer + 1})


def measured(layer: int) -> Records:
    block = torch.ones(len(BLOCK_FIGURES), dtype=torch.float64)
    sites = {"output": site(layer), "update": site(layer)}
    return LayerStatistics(Moments(8, block, block), sites, ((1.0, 0.5),)).record()


def variant(accuracy: float, nll: float) -> Records:
    figures = {name: entry(accuracy if name not in ("ece", "brier") else 0.2) for name in FIGURES}
    bins = [{"lower": low, "upper": low + 0.5, "count": 30, "confidence": low + 0.25, "accuracy": accuracy}
            for low in (0.0, 0.5)]  # fmt: skip
    questions = {**figures, **{name: entry(0.4) for name in MORE_FIGURES},
                 "exact_match": entry(accuracy / 2), "answered": 1.0, "n": 60, "small_n": True,
                 "judge": "f1", "shots": 5, "dropped_demonstrations": 0, "reliability": bins,
                 "curve": [{"coverage": share, "accuracy": accuracy} for share in (0.5, 1.0)]}  # fmt: skip
    text = {"nll": nll, "tokens": 128, "window_mean": entry(nll)}
    text |= {f"{unit}_perplexity": math.exp(nll) for unit in ("token", "word", "byte")}
    feeling = {"n": 40, "accuracy": entry(accuracy), "predicted_positive": 0.5}
    return {"sets": dict.fromkeys(SETS, questions), "language_modelling": text, "sentiment": feeling}


def changes(**known: Records) -> Records:
    same = dict.fromkeys(FIGURES, entry(0.0))
    return {name: {**same, **known, "n": 60, "retention": None} for name in SETS}


def kept(share: float) -> Records:
    records = {name: {"n": 60, "retention": entry(share)} for name in SETS}
    sentiment = {"n": 40, "chance": 0.5, "retention": entry(0.75), "retention_over_chance": entry(0.5)}
    text = {"windows": 4, "nll_retention": entry(0.8), "perplexity_ratio": entry(2.0)}
    return {"generation": {"sets": records, "mean": entry(share)},
            "classification": {"sentiment": sentiment}, "language_modelling": text}  # fmt: skip


def by_layer() -> Records:
    figures = {name: [entry(0.1 * layer) for layer in range(LAYERS)]
               for name in ("accuracy_at_50", "coverage_at_50", "ece", "brier")}  # fmt: skip
    return {"layers": list(range(LAYERS)), "n": dict.fromkeys(SETS, 24), "judges": dict.fromkeys(SETS, "f1"),
            "sets": dict.fromkeys(SETS, figures)}  # fmt: skip


def tau(*names: str) -> Records:
    return {
        name: {other: 1.0 if name == other else None for other in (*names, "depth")}
        for name in (*names, "depth")
    }


def reading(nll: float, removed: list[int]) -> Records:
    scores = [0.1 + 0.9 * (layer not in removed) for layer in range(LAYERS)]
    return {"score": "avss", "needs": "statistics", "reference": "a formula", "scores": scores,
            "normalised": [score / 3.1 for score in scores],
            "cumulative": [0.4, 0.7, 0.05, 1.0], "removed": removed, "shot_noise": [0],
            "cost": cost(nll)}  # fmt: skip


def cost(nll: float) -> Records:
    return {"nll": nll, "tokens": 64, "window_means": [nll], "interval": entry(nll),
            "over_chosen": entry(nll - 3.5)}  # fmt: skip


def certificate(layer_map: list[int], parameters: int, provenance: Records) -> Records:
    check = {"name": "logits", "passed": True, "detail": "equal"}
    known = {"model": "tiny", "dense_parameters": 1000, **provenance}
    return {"checks": [check], "layer_map": layer_map, "parameters": parameters, "bytes": 4 * parameters,
            "way": "written", "dtype": "float32", "provenance": known}  # fmt: skip


@pytest.fixture
def records() -> Records:
    """The records of a run on a model of four layers, of which the third was removed."""
    band = {"values": [0.1, -0.1, 0.3, 0.0], "low": [0.0, -0.2, 0.2, -0.1], "high": [0.2, 0.0, 0.4, 0.1]}
    part = {"tokens": 8, "layers": [measured(layer) for layer in range(LAYERS)]}
    statistics = {"tokens": 16, "parts": [part, part]}
    return {
        "prepared/manifest.json": {
            "origin": dict.fromkeys(("questions", "sentiment", "text"), "hub"),
            "sets": {name: {"train": 9, "validation": 3, "calibration": 2, "test": 60, "duplicates": 1,
                            "shared_with_test": 0} for name in SETS},
            "sentiment": {"train": 4, "validation": 40},
            "digest": "d" * 64,
        },
        "dense/model_card.json": {"name": "tiny", "revision": None, "type": "llama", "layers": LAYERS,
                                  "dtype": "float32", "parameters": 1000, "bytes": 4000, "weights": "w" * 64},
        "statistics.json": {"nq": statistics, "text": statistics},
        "scores.json": {"readings": {"avss": reading(3.5, REMOVED), "avss_output": reading(9.25, [0])},
                        "agreement": tau("avss", "avss_output"), "chosen": "avss", "removed": REMOVED,
                        "stability": {"avss": {"frequency": [0.0, 0.25, 0.75, 0.0], "same": 0.75,
                                               "undecided": [1, 2],
                                               "sizes": [{"tokens": 8, "removed": [1]}],
                                               "sources": {"nq": [2]}}},
                        "dense": cost(3.0)},
        "pruned/certificate.json": certificate([0, 1, 3], 800, {"removed": REMOVED, "score": "avss"}),
        "sizes.json": {
            "dense": {"layers": 4, "parameters": 1000, "bytes": 4000, "cache_bytes_per_token": 64},
            "pruned": {"layers": 3, "parameters": 800, "bytes": 3200, "cache_bytes_per_token": 48}},
        "evaluation/figures.json": {"dense": variant(0.5, 3.0), "pruned": variant(0.25, 3.75),
                                    "pruned_against_dense": changes(accuracy=entry(-0.25)),
                                    "retention": kept(0.5), "layers": by_layer()},
        "healed/certificate.json": certificate([0, 1, 3], 800, {"base": "pruned"}),
        "healing/figures.json": {
            "enabled": True, "healed": variant(0.375, 3.25), "healed_against_pruned": changes(),
            "retention": {"before": kept(0.5), "after": kept(0.625)},
            "training": {"layers": [0, 1, 2], "dense_layers": [0, 1, 3], "parameters": 64, "tokens": 1200,
                         "train": {"text": {"tokens": 700, "wanted": 700}, "questions": {"tokens": 500}},
                         "steps": [{"tokens": 600, "loss": 2.0}, {"tokens": 600, "loss": 1.5}],
                         "history": [{"step": 1, "validation_loss": 1.75},
                                     {"step": 2, "validation_loss": 1.625}]}},
        "localization.json": {"reading": "eavss_contrast", "reference": "a formula", "site": "update",
                              "answers": {name: {"supplied": {"questions": 6}} for name in SETS},
                              "questions": 12, "pairs": 12, "readings": {"eavss_contrast": band},
                              "sets": {key: {"eavss_contrast": band} for key in SETS}, "probe_questions": 2,
                              "sources": {}, "source_agreement": {},
                              "probe_auroc": [0.5, 0.75, 1.0, 0.25],
                              "agreement": tau("eavss_contrast", "probe_auroc"), "most_prone": [2, 0, 3, 1]},
        "mitigated/certificate.json": certificate([0, 1, 2, 3], 1000, {"base": "dense"}),
        "mitigation/figures.json": {
            "base": "dense", "mitigated": variant(0.5, 3.01), "mitigated_against_base": changes(),
            "training": training([2]), "divergence": entry(0.02),
            "controls": {name: {"training": training(layers), "figures": variant(0.5, 3.02),
                                "against_base": changes(), "divergence": entry(0.03)}
                         for name, layers in (("random_1", [0]), ("random_2", [1]))},
            "against_controls": {"random": changes(accuracy=entry(0.1))},
            "localization_against_training": {"trainings": ["mitigated", "random_1", "random_2"],
                                              "tau": {"eavss": None, "eavss_contrast": 0.333}}},
    }  # fmt: skip


def training(layers: list[int]) -> Records:
    """The record of a training."""
    history = [{"epoch": n, "step": 2 * n, "train_loss": 2.0 / n, "validation_loss": 2.5 - n / 4,
                "validation_preference": 0.5} for n in (1, 2)]  # fmt: skip
    return {"layers": layers, "dense_layers": layers, "rank": 8, "parameters": 96,
            "steps": [{"tokens": 50, "loss": 2.0}] * 4,
            "train_pairs": 9, "validation_pairs": 3, "skipped": {"no wrong answer": 2}, "best_loss": 1.5,
            "history": history}  # fmt: skip


@pytest.fixture
def render(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Records, list[Path]]]:
    """Write the report of the records; its figures take seconds, so they are drawn only where a test asks."""

    def run(name: str = "reports", *, draw: bool = False) -> tuple[Records, list[Path]]:
        if not draw:
            monkeypatch.setattr(
                "tasks.report.write_figures", lambda _found, _folder: dict.fromkeys(DRAWINGS, "<svg></svg>")
            )
        for file, record in records.items():
            write_json(tmp_path / file, record)
        folders = (
            "prepared",
            "dense",
            "pruned",
            "evaluation",
            "healed",
            "healing",
            "mitigated",
            "mitigation",
        )
        paths = {folder: tmp_path / folder for folder in folders}
        files = ("statistics", "scores", "sizes", "localization")
        paths |= {file: tmp_path / f"{file}.json" for file in files}
        parameters = {"seed": 0, "model.name": "tiny", "collect.threshold": 1e-5, "collect.skip_first": True,
                      "score.resamples": 8, "heal.rank": 2,
                      "collect.relative_threshold": 0.1, "evaluate.max_new_tokens": 16, "prune.layers": None,
                      "data.sets": list(SETS)}  # fmt: skip
        return write_report.fn(**paths, parameters=parameters, folder=tmp_path / name)

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
        if not {"style", "svg"} & set(self.open):
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


def test_the_card_holds_what_the_evaluation_measured(render: Any, tmp_path: Path) -> None:
    render()
    card = (tmp_path / "reports" / "model_card.md").read_text(encoding="utf-8")
    assert "| nq, accuracy (n = 60, judge f1) | 0.500 | 0.250 | - |\n" in card
    assert "| sentiment, accuracy (n = 40) | 0.500 | 0.250 | 50.0% |\n" in card
    assert "| test text, nats a token (128 tokens) | 3.000 | 3.750 | 80.0% |\n" in card
    assert "| 2 | 0.1 | removed |\n" in card


def test_page_is_whole_and_stands_alone(render: Any, tmp_path: Path) -> None:
    render(draw=True)
    page = Page(tmp_path / "reports" / "index.html")
    assert page.errors == []
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    inside = [reference[1:] for reference in page.references if reference.startswith("#")]
    assert set(inside) <= set(page.ids)
    outside = {reference for reference in page.references if not reference.startswith("#")}
    assert outside == {"summary.json", "model_card.md", *(f"figures/{name}.png" for name in DRAWINGS)}
    assert all((tmp_path / "reports" / reference).is_file() for reference in outside)
    assert "script" not in page.tags
    assert "url(http" not in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")


def test_every_figure_is_there_as_svg_and_png_and_on_the_page(render: Any, tmp_path: Path) -> None:
    _, files = render(draw=True)
    folder = tmp_path / "reports"
    assert files == [
        *(folder / "figures" / f"{name}.png" for name in sorted(DRAWINGS)),
        *sorted((folder / "tables").glob("*.csv")),
        folder / "index.html",
    ]
    assert (folder / "tables" / "scores.csv") in files
    for name in DRAWINGS:
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "</svg>" in (folder / "figures" / f"{name}.svg").read_text(encoding="utf-8")
    page = Page(folder / "index.html")
    assert page.tags.count("svg") == page.tags.count("figure") == len(DRAWINGS)


def test_same_records_give_the_same_bytes(render: Any, tmp_path: Path) -> None:
    render("first", draw=True)
    render("second", draw=True)
    assert digest_path(tmp_path / "first") == digest_path(tmp_path / "second")


@pytest.mark.parametrize("part", ["questions", "sentiment", "text"])
def test_a_sample_run_says_so_first(records: Records, render: Any, tmp_path: Path, part: str) -> None:
    records["prepared/manifest.json"]["origin"][part] = "sample"
    render()
    assert (
        Page(tmp_path / "reports" / "index.html")
        .text.split("trained", 1)[1]
        .strip()
        .startswith(f"This is a sample run: its {part} come")
    )


def test_no_other_run_is_called_a_sample(render: Any, tmp_path: Path) -> None:
    render()
    assert "sample run" not in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")


def test_cells_hold_the_records_numbers(render: Any, tmp_path: Path) -> None:
    render()
    page = Page(tmp_path / "reports" / "index.html")
    assert page.row("healed", "3.250")[2] == significant(math.exp(3.25))
    assert page.row("after", "3.010")[4] == significant(math.exp(3.01))
    assert page.row("nq", "9") == ["nq", "9", "3", "2", "60", "60 small n", "1", "0", "5",
                                   "f1 (token F1 >= 0.5; 1606.05250)"]  # fmt: skip
    layer = page.row("2", "removed")
    # relative variance 1 * (2 + 1), share below (2 + 1) of 32 values, both scores
    assert layer == ["2", "removed", "403.4", "9.4\u00a0%", "0.1", "1"]
    accuracy = next(row for row in page.rows if "n = 60" in row[0] and row[0].startswith("nq"))
    assert [" ".join(cell.split()) for cell in accuracy[1:]] == [
        "accuracy", "50.0 % [45.0, 55.0]", "25.0 % [20.0, 30.0]",
        "\u221225.0 points [\u221230.0, \u221220.0]",
        "▼ worse",
    ]  # fmt: skip


def test_activations_are_read_by_name(render: Any, tmp_path: Path) -> None:
    render()
    rows = [row for row in Page(tmp_path / "reports" / "index.html").rows if len(row) == 11 and row[0] == "3"]
    l1, l2 = (str(4 * (TOKEN_FIGURES.index(name) + 1)) for name in ("l1", "l2"))
    # Variance 32 * (3 + 2) / 32 and 4 small values of 32, for two sources and two sites. Two parts of 32
    # values with a mean of 0 have a Frobenius norm of sqrt(2 * 32 * 5), over the root of 16 tokens.
    assert rows == [["3", *["5", l1, l2, f"{math.sqrt(20):.4g}", "12.5\u00a0%"] * 2]] * 2


def test_summary_holds_numbers_alone_and_equals_its_file(render: Any, tmp_path: Path) -> None:
    summary, _ = render()
    text = (tmp_path / "reports" / "summary.json").read_text(encoding="utf-8")
    assert json.loads(text) == summary
    assert "NaN" not in text
    assert "null" not in text
    assert summary["score"] == {
        "dense_nll": 3.0,
        "removal_nll": {"avss": 3.5, "avss_output": 9.25},
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
    assert "script" not in page.tags
    assert "Layers of <script>alert(1)</script>: scored" in page.text


def test_a_set_named_like_markup_is_shown_not_run_in_text_and_in_figures(
    records: Records, render: Any, tmp_path: Path
) -> None:
    name = "<script>alert(1)</script>"
    records.update(json.loads(json.dumps(records).replace('"nq"', json.dumps(name))))
    render(draw=True)
    page = Page(tmp_path / "reports" / "index.html")
    assert "script" not in page.tags
    assert name in page.text


def test_set_names_with_dollar_signs_are_drawn(records: Records, render: Any, tmp_path: Path) -> None:
    figures, healing = records["evaluation/figures.json"], records["healing/figures.json"]
    layers = figures["layers"]
    for sets in (
        healing["healed"]["sets"],
        healing["healed_against_pruned"],
        *(healing["retention"][when]["generation"]["sets"] for when in ("before", "after")),
    ):
        sets["a$b$\\c"] = sets.pop("nq")
    for sets in (figures["dense"]["sets"], figures["pruned"]["sets"], figures["pruned_against_dense"],
                 figures["retention"]["generation"]["sets"], layers["sets"], layers["n"]):  # fmt: skip
        sets["a$b$\\c"] = sets.pop("nq")
    manifest = records["prepared/manifest.json"]["sets"]
    manifest["a$b$\\c"] = manifest.pop("nq")
    mitigation = records["mitigation/figures.json"]
    mitigation["mitigated_against_base"].pop("nq")
    mitigation["mitigated"]["sets"].pop("nq")
    mitigation["controls"], mitigation["against_controls"] = {}, {}
    render(draw=True)
    assert "a$b$\\c" in (tmp_path / "reports" / "figures" / "pruning.svg").read_text(encoding="utf-8")


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
    render(draw=True)
    page = Page(tmp_path / "reports" / "index.html")
    assert page.errors == []
    assert "14 of 80 questions" in page.text
    assert "by the two sources: eavss_contrast 0.25." in page.text
    row = next(row for row in page.rows if row[0] == "2" and "1.5 [1.25, 1.75]" in row)
    # One reading of all answers, two sets, two sources, no probe.
    assert row[1:] == [*["0.3 [0.2, 0.4]"] * 3, "1.5 [1.25, 1.75]", "0.3 [0.2, 0.4]", "\u2014"]
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
    summary, files = render(draw=True)
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
        (3.75, 0.05, "worse", "raises the loss on test text from 3.000 to 3.750 nats per token."),
        (2.5, 0.05, "better", "lowers the loss on test text from 3.000 to 2.500 nats per token."),
        (3.02, 0.05, "same", "to 3.020 nats per token (the intervals over windows overlap)."),
    ],
)
def test_the_headline_follows_the_loss(
    records: Records, nll: float, half: float, tone: str, words: str
) -> None:
    evaluation = records["evaluation/figures.json"]
    evaluation["pruned"]["language_modelling"] |= {"nll": nll, "window_mean": entry(nll, half)}
    headline = verdicts(judged(records))[0]
    assert headline.tone == tone
    assert headline.text.startswith("Removing 1 of 4 layers (2), chosen by avss, ")
    assert words in headline.text
    assert headline.text.endswith("It leaves 800 of 1,000 parameters.")


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
    records["mitigation/figures.json"]["against_controls"] = {"lowest": {first: sets[first], second: against}}
    (verdict,) = control_verdicts(records["mitigation/figures.json"])
    assert verdict.tone == "better"
    records["mitigation/figures.json"]["against_controls"] = {"all": {second: against}}
    (verdict,) = control_verdicts(records["mitigation/figures.json"])
    assert verdict.tone == "same"
    assert "at a lower rank: no better, within the intervals, on" in verdict.text
    render()
    page = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert "random_2" in page
    assert "as many layers drawn at random" in page
    assert "eavss_contrast 0.33" in page
    assert "by reason: no wrong answer (2)." in page
    assert "Not trained beside the chosen layers: cross_entropy" in page
