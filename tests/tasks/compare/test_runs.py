"""Two runs side by side: found, paired where the questions are the same, warned of where they are not."""

import json
import re
from copy import deepcopy
from itertools import cycle

import pandas as pd
import pytest

from avss_core.data.rows import write_rows
from avss_core.files.writing import write_json
from tasks.compare.finding import STAGES, find_run
from tasks.compare.runs import compare_runs
from tasks.compare.verdicts import verdicts
from tasks.compare.views import figures, markdown, plain_rows, write_page
from tasks.report.run_record import FILE, run_record
from tasks.report.words.evidence import NOT_SURE
from tasks.report.words.wording import NAMES

LAYERS, ORIGINS = 4, ("questions", "sentiment", "text")


def entry(value, half=0.05):
    return {"value": value, "low": value - half, "high": value + half}


def model(accuracy, nll, judge="f1"):
    text = {"nll": nll, "tokens": 64, "window": 32, "stride": 32, "window_means": [nll - 0.5, nll + 0.5],
            "token_perplexity": 9.0, "word_perplexity": 20.0, "window_mean": entry(nll)}  # fmt: skip
    sets = {"nq": {"n": 40, "judge": judge} | {name: entry(accuracy) for name in NAMES}}
    feeling = {"n": 20, "accuracy": entry(accuracy)}
    return {"sets": sets, "language_modelling": text, "sentiment": feeling}


def cost(nll):
    return {"nll": nll, "interval": entry(nll), "tokens": 64, "window_means": [nll - 1, nll + 1]}


def kept(share):
    sentiment = {"retention": entry(share), "retention_over_chance": entry(share)}
    scored = {"preference": {"n": 40, "accuracy_before": 0.75, "retention": entry(share)},
              "gold_nll": {"n": 40, "retention": entry(share)}}  # fmt: skip
    answers = {"nq": {"n": 40, "accuracy_before": 0.5, "retention": entry(share), **scored}}
    means = dict.fromkeys(("mean", "preference", "gold_nll"), entry(share))
    return {"generation": {"sets": answers, **means},
            "classification": {"sentiment": sentiment},
            "language_modelling": {"nll_retention": entry(share)}}  # fmt: skip


def reading(scores, removed, nll):
    return {"scores": scores, "removed": removed, "cost": cost(nll)}


@pytest.fixture
def records():
    """What the stages of a run wrote, by the files below data/."""
    band = {"values": [0.1, 0.2, 0.3, 0.4], "low": [0.0] * LAYERS, "high": [1.0] * LAYERS}
    return {
        "prepared/manifest.json": {"digest": "d" * 64, "origin": dict.fromkeys(ORIGINS, "path")},
        "dense/model_card.json": {"name": "tiny", "revision": None, "type": "llama", "layers": LAYERS,
                                  "dtype": "float32", "parameters": 10, "bytes": 40, "weights": "w" * 64},
        "scores.json": {"readings": {"avss": reading([0.1, 0.4, 0.2, 0.3], [0, 2], 3.5),
                                     "angular": reading([0.4, 0.3, 0.2, 0.1], [2, 3], 4.0)},
                        "dense": cost(3.0), "stability": {"avss": {"same": 0.5}}},
        "pruned/certificate.json": {"provenance": {"score": "avss", "removed": [0, 2]}},
        "sizes.json": {"dense": {"layers": 4, "bytes": 40}, "pruned": {"layers": 2, "bytes": 20}},
        "evaluation/figures.json": {"dense": model(0.5, 3.0), "pruned": model(0.25, 3.75),
                                    "repaired": {"figures": model(0.375, 3.5), "retention": kept(0.625)},
                                    "retention": kept(0.5)},
        "healing/figures.json": {"enabled": False},
        "localization.json": {"reading": "eavss", "most_prone": [3, 2, 1, 0], "pairs": 40, "questions": 40,
                              "readings": {"eavss": band}},
        "mitigation/figures.json": {
            "base": "dense", "mitigated": model(0.5, 3.0), "controls": {}, "divergence": entry(0.02),
            "training": {"dense_layers": [2, 3], "rank": 8, "parameters": 96, "train_pairs": 9,
                         "best_loss": 1.5}},
    }  # fmt: skip


QUESTIONS = [{"id": f"nq-{i}", "question": f"question {i}", "answers": ["yes"]} for i in range(40)]
REVIEWS = [{"id": f"sst2-{i}", "text": f"review {i}", "label": 1} for i in range(20)]
RIGHT = {
    "dense": [1, 1, 0, 0],
    "pruned": [1, 0, 0, 0],
    "repaired": [1, 0, 1, 0],
    "mitigated": [1, 1, 0, 0],
}
FOLDERS = {"evaluation": ("dense", "pruned", "repaired"), "mitigation": ("mitigated",)}
SURE = [0.9, 0.8, 0.3, 0.2]
"""Of the first four questions; it goes on in the same way."""


@pytest.fixture
def write(tmp_path):
    """A function that writes a run: records, questions, reviews, and which answers are right."""

    def run(name, records, right=None, questions=QUESTIONS, parameters=("prune.ratio", 0.5)):
        data = tmp_path / name / "data"
        for file, record in records.items():
            write_json(data / file, record)
        write_rows(data / "prepared/nq/test.jsonl", questions)
        write_rows(data / "prepared/sst2/validation.jsonl", REVIEWS)
        right = RIGHT | (right or {})
        for folder, variants in FOLDERS.items():
            rows = [
                {"variant": variant, "set": name, "id": row["id"], "confidence": sure, "correct": bool(each)}
                for variant in variants
                for name, asked in {"nq": questions, "sentiment": REVIEWS}.items()
                for row, sure, each in zip(asked, cycle(SURE), cycle(right[variant]), strict=False)
            ]
            pd.DataFrame(rows).to_parquet(data / folder / "answers.parquet")
        key, value = parameters
        reports = tmp_path / name / "reports"
        write_json(reports / FILE, {"parameters": {key: str(value)}, "versions": {"python": "3.11"}})
        write_json(reports / "summary.json", {})
        return str(tmp_path / name)

    return run


@pytest.fixture
def compare(tmp_path):
    return lambda first, second: compare_runs(find_run(first, tmp_path), find_run(second, tmp_path), 0)


def test_a_run_against_itself_does_not_differ(records, write, compare, tmp_path):
    run = write("one", records)
    found = compare(run, run)
    assert not any(found["differs"].values())
    entries = [each for *_, each in figures(found)]
    assert {each["tone"] for each in entries} == {"same"}
    assert {each["change"]["value"] for each in entries} == {0.0}
    assert {verdict.tone for verdict in verdicts(found)} == {"same"}
    said = " ".join(verdict.text for verdict in verdicts(found))
    assert "A and B do not differ in the model, the data, versions and parameters." in said
    assert "Both remove the same layers (by avss): 0, 2." in said
    assert "The pruned model's figures of question sets, text and sentiment are the same in A and B." in said
    # The reports folder inside a workspace is that run, too.
    assert find_run(f"{run}/reports", tmp_path).record == find_run(run, tmp_path).record


def test_the_change_is_of_the_questions_that_are_the_same(records, write, compare):
    other = [*QUESTIONS[:3], {**QUESTIONS[3], "question": "another one with the same id"}]
    changed = deepcopy(records)
    changed["prepared/manifest.json"]["digest"] = "e" * 64
    first = write("one", records)
    found = compare(first, write("two", changed, right={"pruned": [1, 1, 1, 0]}, questions=other))
    found = found["models"]["pruned"]["sets"]["nq"]
    # Of the three shared questions A has one right, B all.
    assert found["shared"] == 3
    assert found["figures"]["accuracy"]["change"]["value"] == pytest.approx(2 / 3)
    assert found["figures"]["accuracy"]["paired"] == 3
    # Brier: A ((.9-1)^2 + .8^2 + .3^2) / 3, B ((.9-1)^2 + (.8-1)^2 + (.3-1)^2) / 3
    assert found["figures"]["brier"]["change"]["value"] == pytest.approx((0.04 + 0.49 - 0.64 - 0.09) / 3)
    assert found["reasons"] == []


def test_swapped_runs_negate_every_change(records, write, compare):
    changed = deepcopy(records)
    changed["scores.json"]["readings"]["avss"] = reading([0.4, 0.1, 0.2, 0.3], [1, 2], 3.0)
    changed["pruned/certificate.json"]["provenance"]["removed"] = [1, 2]
    changed["evaluation/figures.json"]["pruned"] = model(0.75, 3.25)
    one = write("one", records)
    two = write("two", changed, right={"pruned": [1, 1, 1, 0]}, parameters=("prune.ratio", 0.4))
    there, back = compare(one, two), compare(two, one)
    tones = {"better": "worse", "worse": "better", "same": "same", "void": "void"}
    compared = list(zip(figures(there), figures(back), strict=True))
    assert len(compared) > 20
    for (*_, forth), (*_, again) in compared:
        assert again["tone"] == tones[forth["tone"]]
        change, mirrored = forth["change"], again["change"]
        assert change["value"] == pytest.approx(-mirrored["value"])
        if change["low"] is not None:
            assert (change["low"], change["high"]) == pytest.approx((-mirrored["high"], -mirrored["low"]))
    assert (there["choice"]["only_first"], there["choice"]["only_second"]) == ([0], [1])
    assert (back["choice"]["only_first"], back["choice"]["only_second"]) == ([1], [0])
    assert there["differs"]["parameters"] == {"prune.ratio": ["0.5", "0.4"]}
    # Both windows of the text rose by half a nat less: the interval has no width.
    assert there["models"]["pruned"]["text"]["nll"]["change"] == {"value": -0.5, "low": -0.5, "high": -0.5}
    assert there["models"]["pruned"]["text"]["nll"]["tone"] == "better"
    # Ranks of avss: one of six pairs of layers, 0 and 1, 0 and 2, 0 and 3, 1 and 2, 1 and 3 turned round.
    assert there["readings"]["scores"]["avss"]["tau"] == pytest.approx((1 - 5) / 6)


def test_other_questions_judges_and_numbers_are_warned_of(records, write, compare):
    changed = deepcopy(records)
    changed["prepared/manifest.json"]["digest"] = "e" * 64
    for variant in ("dense", "pruned"):
        changed["evaluation/figures.json"][variant]["sets"]["nq"] |= {"n": 3, "judge": "exact"}
    questions = [{**row, "question": row["question"].upper()} for row in QUESTIONS[:3]]
    found = compare(write("one", records), write("two", changed, questions=questions))
    entry_of = found["models"]["pruned"]["sets"]["nq"]
    assert entry_of["reasons"] == [
        "the test questions are not the same",
        "n is 40 and 3",
        "judged by f1 and by exact",
    ]
    assert {each["tone"] for each in entry_of["figures"].values()} == {"void"}
    assert found["retention"]["pruned"]["nq, accuracy"]["tone"] == "void"
    assert found["retention"]["pruned"]["sentiment, accuracy"]["tone"] == "same"
    (warning,) = [verdict for verdict in verdicts(found) if verdict.tone == "void"]
    assert "judged by f1 and by exact: nq" in warning.details
    assert "—" in next(
        line for line in markdown(found).splitlines() if line.startswith("| pruned: nq accuracy |")
    )


def test_without_single_answers_the_two_intervals_speak(records, write, tmp_path):
    write("one", records)
    changed = deepcopy(records)
    changed["evaluation/figures.json"]["pruned"]["sets"]["nq"] |= {"accuracy": entry(0.75), "ece": entry(0.3)}
    for name, each in (("a", records), ("b", changed)):
        found = {key: each[file] for key, (_, file) in STAGES.items()} | {"parameters": {"seed": 0}}
        write_json(tmp_path / name / FILE, run_record(found, {}))
        write_json(tmp_path / name / "summary.json", {})
    sides = [find_run(str(tmp_path / name), tmp_path) for name in ("a", "b")]
    assert [side.kind for side in sides] == ["reports", "reports"]
    found = compare_runs(*sides, 0)["models"]["pruned"]["sets"]["nq"]["figures"]
    assert (found["accuracy"]["tone"], found["accuracy"]["paired"]) == ("better", None)
    assert found["accuracy"]["change"] == {"value": 0.5, "low": None, "high": None}
    assert found["ece"]["tone"] == "same"  # 0.25 and 0.3, each within 0.05


def test_choices_by_two_scores_are_compared_by_what_each_costs(records, write, compare):
    changed = deepcopy(records)
    changed["pruned/certificate.json"]["provenance"] = {"score": "angular", "removed": [2, 3]}
    found = compare(write("one", records), write("two", changed))
    # avss costs A 3.5 nats a token, angular costs B 4.0, in each window half a nat more.
    assert found["readings"]["chosen"]["change"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    said = {verdict.text: verdict.tone for verdict in verdicts(found)}
    (text,) = (each for each in said if each.startswith("Loss on held-out calibration text"))
    assert said[text] == "worse"
    assert "(A by avss, B by angular) share 1: 2. Only A removes 0, only B 3." in " ".join(said)
    changed["pruned/certificate.json"]["provenance"]["score"] = "explicit list"
    assert compare(write("one", records), write("two", changed))["readings"]["chosen"] is None


def test_models_of_other_depth_share_no_layers(records, write, compare):
    changed = deepcopy(records)
    changed["dense/model_card.json"] |= {"name": "other", "layers": 5}
    for name, found in changed["scores.json"]["readings"].items():
        found["scores"] = [*found["scores"], 0.5]
        assert name
    found = compare(write("one", records), write("two", changed))
    assert found["readings"]["scores"]["avss"]["tau"] is None
    assert "layers of models of different depth are not the same" in " ".join(v.text for v in verdicts(found))
    assert found["models"]["dense"]["text"]["reasons"] == ["the models differ, and so may their tokens"]


def test_the_page_is_whole_says_what_differs_first_and_stands_alone(records, write, compare, tmp_path):
    changed = deepcopy(records)
    changed["evaluation/figures.json"]["pruned"]["sets"]["nq"]["judge"] = "<b>exact</b>"
    found = compare(write("one", records), write("two", changed, parameters=("prune.ratio", "<script>")))
    write_page(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!#)', re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL))
    assert "url(http" not in page
    assert page.count("<svg ") == 8  # scores, costs, changes, four models, EAVSS
    assert page.index('id="differs"') < page.index('id="layers"') < page.index('id="models"')
    assert "&lt;script&gt;" in page
    assert "<b>exact" not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    assert page.count("<table>") == page.count("<caption>")
    with pytest.raises(IsADirectoryError, match="is a folder; name a file for the page"):
        write_page(found, tmp_path)


def test_rows_and_markdown_hold_every_figure(records, write, compare):
    run = write("one", records)
    found = compare(
        run, write("two", records, right={"pruned": [1, 1, 1, 1]}, parameters=("prune.ratio", 0.4))
    )
    rows = {(row["part"], row["name"]): row for row in plain_rows(found)}
    # as docs/command_line.md promises
    columns = ["part", "name", "a", "b", "change", "low", "high", "paired", "verdict"]
    assert list(dict.fromkeys(key for row in plain_rows(found) for key in row)) == columns
    assert rows["parameters", "prune.ratio"]["b"] == "0.4"
    assert rows["layers, avss", "removed"]["a"] == "0, 2"
    assert rows["pruned", "nq accuracy"]["change"] == 0.75
    assert rows["pruned", "nq accuracy"]["paired"] == 40
    text = markdown(found)
    assert "| parameters: prune.ratio | 0.5 | 0.4 |" in text
    assert "| pruned: nq accuracy | 25.0\u00a0% " in text
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_of_few_questions_no_run_is_better(records, write, compare, monkeypatch):
    for variant in ("dense", "pruned"):
        figures = records["evaluation/figures.json"][variant]
        figures["sets"]["nq"]["n"], figures["sentiment"]["n"] = 19, 20
    records["mitigation/figures.json"]["mitigated"]["sets"]["nq"]["n"] = 19
    records["localization.json"]["questions"] = 5
    asked = QUESTIONS[:19]
    one = write("one", records, questions=asked)
    changed = deepcopy(records)
    changed["evaluation/figures.json"]["pruned"]["sets"]["nq"]["accuracy"] = entry(1.0)
    found = compare(one, write("two", changed, right={"pruned": [1, 1, 1, 1]}, questions=asked))
    pruned = found["models"]["pruned"]
    assert pruned["sets"]["nq"]["figures"]["accuracy"]["change"]["low"] > 0
    assert {each["tone"] for each in pruned["sets"]["nq"]["figures"].values()} == {"unsure"}
    assert pruned["sentiment"]["accuracy"]["tone"] == "better"
    assert found["retention"]["pruned"]["nq, accuracy"]["tone"] == "unsure"
    assert found["retention"]["pruned"]["mean of the sets"]["tone"] == "unsure"
    said = {verdict.text: verdict.tone for verdict in verdicts(found)}
    assert said["The pruned model: too few questions to say (nq: 19)."] == "unsure"
    (prone,) = (text for text in said if "too few questions to say (A: 5, B: 5)" in text)
    assert said[prone] == "unsure"
    assert "| · too few to say |" in markdown(found)
    for figures in (records, changed):
        figures["evaluation/figures.json"]["pruned"]["sentiment"] = {"n": 12, "accuracy": entry(0.5)}
    changed["evaluation/figures.json"]["pruned"]["sentiment"]["accuracy"] = entry(0.9)
    monkeypatch.setattr("tests.tasks.compare.test_runs.REVIEWS", REVIEWS[:12])
    found = compare(
        write("three", records, questions=asked),
        write("four", changed, right={"pruned": [1, 1, 1, 1]}, questions=asked),
    )
    said = {verdict.text: verdict.tone for verdict in verdicts(found)}
    assert said["The pruned model, sentiment accuracy: too few reviews to say (12)."] == "unsure"


def test_the_repaired_model_is_compared_in_pairs_like_the_others(records, write, compare):
    found = compare(write("one", records), write("two", records, right={"repaired": [1, 1, 1, 0]}))
    accuracy = found["models"]["repaired"]["sets"]["nq"]["figures"]["accuracy"]
    assert (accuracy["change"]["value"], accuracy["paired"]) == (0.25, 40)
    assert found["retention"]["repaired"]["nq, gold loss"]["a"]["value"] == 0.625
    assert list(found["models"]) == ["dense", "pruned", "repaired", "mitigated"]
    before = deepcopy(records)  # of a run without repair
    del before["evaluation/figures.json"]["repaired"]
    found = compare(write("three", before), write("four", records))
    assert found["only"]["models"] == {"a": [], "b": ["repaired"]}


def test_a_share_of_too_few_right_answers_is_not_compared(records, write, compare):
    changed = deepcopy(records)
    sets = changed["evaluation/figures.json"]["retention"]["generation"]["sets"]
    sets["nq"]["accuracy_before"] = 0.2  # 8 of 40
    one, two = write("one", records), write("two", changed)
    for first, second in ((one, two), (two, one)):
        kept_of = compare(first, second)["retention"]["pruned"]
        assert kept_of["nq, accuracy"]["tone"] == "unsure"
        assert kept_of["nq, accuracy"]["change"]["value"] is None
        assert kept_of["mean of the sets"]["tone"] == "void", "they are means of other sets"
        assert kept_of["mean of the sets, preference"]["tone"] == "same"
    again = compare(two, two)["retention"]["pruned"]
    assert (again["nq, accuracy"]["tone"], again["mean of the sets"]["tone"]) == ("unsure", "same")


def test_confidence_in_no_right_answer_is_not_compared(records, write, compare):
    changed = deepcopy(records)
    changed["evaluation/figures.json"]["pruned"]["sets"]["nq"]["accuracy"] = entry(0.0)
    found = compare(write("one", records), write("two", changed, right={"pruned": [0, 0, 0, 0]}))
    figures_of = found["models"]["pruned"]["sets"]["nq"]["figures"]
    assert figures_of["brier"]["change"]["low"] > 0
    assert (figures_of["brier"]["tone"], figures_of["accuracy"]["tone"]) == ("hollow", "worse")
    (why,) = (verdict for verdict in verdicts(found) if NOT_SURE in verdict.text)
    assert why.tone == "same"
    assert why.details[0].startswith("ECE: nq 0.250 to 0.250")


@pytest.mark.parametrize(
    ("file", "stage"), [("mitigation/figures.json", "mitigate"), ("scores.json", "score")]
)
def test_a_half_finished_run_is_named_with_what_is_missing(records, write, tmp_path, file, stage):
    run = write("half", records)
    (tmp_path / "half/data" / file).unlink()
    said = rf"half is half-finished: .*{re.escape(file)} is missing, which the stage {stage} writes"
    with pytest.raises(FileNotFoundError, match=said):
        find_run(run, tmp_path)


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"gone is no run: it is neither a folder nor an id of MLflow"
    ):
        find_run(str(tmp_path / "gone"), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"holds neither the records of a run nor run\.json"):
        find_run(str(tmp_path), tmp_path)
    with pytest.raises(LookupError, match="has no history of experiments yet"):
        find_run("0" * 32, tmp_path)


def test_the_page_of_an_older_run_tells_its_parameters(records, write, tmp_path):
    run = write("old", records)
    (tmp_path / "old/reports" / FILE).unlink()
    rows = '<tr><th scope="row"><code>seed</code></th><td>0 &amp; 1</td></tr>'
    page = f'<section id="parameters"><table>\n{rows}\n</table></section>'
    (tmp_path / "old/reports/index.html").write_text(page, encoding="utf-8")
    record = find_run(run, tmp_path).record
    assert record["parameters"] == {"seed": "0 & 1"}
    assert "versions" not in record
