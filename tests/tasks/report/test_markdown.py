import json

import pytest

from avss_core.files.writing import write_json
from avss_core.surgery.markdown import plain
from tasks.report.markdown import markdown_tables, speed_table
from tasks.report.words.opening import opening
from tasks.report.words.wording import NAMES
from tests.tasks.report_records import named, run_records


def _entry(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def _model(accuracy):
    figures = ("accuracy", "exact_match", "accuracy_at_50", "coverage_at_50", "ece", "brier")
    return {
        "sets": {
            "nq": {name: _entry(accuracy) for name in figures} | {"n": 70, "judge": "f1", "answered": 0.75}
        },
        "language_modelling": {"token_perplexity": 12.34, "word_perplexity": 56.78},
        "sentiment": {"accuracy": _entry(0.5), "auroc": _entry(0.6), "predicted_positive": None},
    }


def _kept(share=0.5):
    nothing = {"value": None, "low": None, "high": None}
    sentiment = {"n": 50, "retention": _entry(0.75), "retention_over_chance": nothing}
    return {
        "generation": {
            "sets": {
                "nq": {
                    "n": 70,
                    "accuracy_before": 0.25,
                    "retention": _entry(share),
                    "preference": {"n": 70, "accuracy_before": 0.5, "retention": _entry(0.9)},
                    "gold_nll": {"n": 70, "retention": _entry(0.95)},
                }
            },
            "mean": _entry(share),
            "preference": _entry(0.9),
            "gold_nll": _entry(0.95),
        },
        "classification": {"sentiment": sentiment},
        "language_modelling": {"nll_retention": _entry(0.8)},
    }


@pytest.fixture
def run(tmp_path):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "mitigation").mkdir()

    def cost(nll):
        return {"nll": nll, "tokens": 10, "interval": _entry(nll), "over_chosen": _entry(nll - 4.25)}

    readings = {
        "avss": {"removed": [1, 4], "cost": cost(4.25)},
        "last_n": {"removed": [8, 9], "cost": cost(6.5)},
    }
    stability = {"avss": {"same": 0.75}}
    scores = {"dense": cost(3.5), "readings": readings, "chosen": "avss", "stability": stability}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    repaired = {"figures": _model(0.25), "retention": _kept(0.56)}
    both = {"dense": _model(0.25), "pruned": _model(0.125), "retention": _kept(), "repaired": repaired}
    (tmp_path / "evaluation/figures.json").write_text(json.dumps(both))
    change = {"nq": dict.fromkeys(NAMES, _entry(0.05)) | {"accuracy": _entry(0.25)}}
    training = {"dense_layers": [1, 2], "rank": 8, "parameters": 1234, "steps": [{}] * 5}
    mitigated = {
        "base": "dense",
        "training": training,
        "mitigated": _model(0.5),
        "mitigated_against_base": change,
        "divergence": _entry(0.25),
        "controls": {},
        "against_controls": {},
    }
    (tmp_path / "mitigation/figures.json").write_text(json.dumps(mitigated))
    (tmp_path / "healing").mkdir()
    healing = {"enabled": True, "healed": _model(0.375), "retention": {"after": _kept(0.62)}}
    (tmp_path / "healing/figures.json").write_text(json.dumps(healing))
    return tmp_path


def _whole(run):
    return markdown_tables(run / "scores.json", run / "evaluation", run / "healing", run / "mitigation")


def _tables(run):
    """The tables alone, without what stands before and after them."""
    head, *tables, last = _whole(run).split("\n\n")
    assert head.startswith("No verdict without all records of the run: model_card.json, manifest.json, cert")
    assert last.endswith("reports/index.html: Limits.")
    return "\n\n".join(tables)


def test_every_number_of_the_tables_comes_from_the_files(run):
    lines = _tables(run).splitlines()
    assert "| none |  | 3.500 |  |  |" in lines
    assert "| avss | 1, 4 | 4.250 [4.150, 4.350] |  | 75 % |" in lines
    assert "| last_n | 8, 9 | 6.500 [6.400, 6.600] | +2.250 [+2.150, +2.350] |  |" in lines
    assert "| nq (70, f1) | dense | 0.250 [0.150, 0.350] | 0.250 | 0.250 | 0.250 | 0.250 | 0.250 |" in lines
    assert "|  | repaired | 0.250 [0.150, 0.350] | 0.250 | 0.250 | 0.250 | 0.250 | 0.250 |" in lines
    assert "|  | healed | 0.375 [0.275, 0.475] | 0.375 | 0.375 | 0.375 | 0.375 | 0.375 |" in lines
    assert "|  | mitigated | 0.500 [0.400, 0.600] | 0.500 | 0.500 | 0.500 | 0.500 | 0.500 |" in lines
    assert "| pruned | 12.3 | 56.8 | 0.500 [0.400, 0.600] | 0.600 [0.500, 0.700] | - |" in lines


def test_costs_after_repair_have_columns_and_a_sentence_if_they_were_measured(run):
    scores = json.loads((run / "scores.json").read_text())
    for reading, nll in zip(scores["readings"].values(), (3.75, 3.625), strict=True):
        reading["repaired"] = {"nll": nll, "interval": _entry(nll), "over_chosen": _entry(nll - 3.75)}
    scores["after_repair"] = {"tokens": 64, "left_out": "", "choices": 2, "tau": -1.0,
                              "cheapest_before": ["avss"], "cheapest_after": ["last_n"]}  # fmt: skip
    (run / "scores.json").write_text(json.dumps(scores))
    lines = _tables(run).splitlines()
    assert "| none |  | 3.500 |  |  |  |  |" in lines
    assert "| avss | 1, 4 | 4.250 [4.150, 4.350] |  | 3.750 [3.650, 3.850] |  | 75 % |" in lines
    assert lines[4].endswith("| 3.625 [3.525, 3.725] | -0.125 [-0.225, -0.025] |  |")
    assert "NLL after repair [95 %] | over avss after repair [95 %]" in lines[0]
    assert "the lowest loss is that of last_n, and was that of avss." in _tables(run)


def test_every_line_of_a_table_has_the_cells_of_its_head(run):
    tables = _tables(run).split("\n\n")
    assert len(tables) == 4
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_controls_have_two_tables(run):
    path = run / "mitigation/figures.json"
    found = json.loads(path.read_text())
    change = found["mitigated_against_base"]
    control = {"training": found["training"], "figures": _model(0.5), "against_base": change}
    found["controls"] = {"lowest": control | {"divergence": _entry(0.5)}}
    found["against_controls"] = {"lowest": change}
    path.write_text(json.dumps(found))
    tables = _tables(run).split("\n\n")
    assert tables[4].splitlines()[2:] == [
        "| mitigated | 1, 2 | 8 | 1,234 | 5 | 1.000 | 0.250 | 0.750 |",
        "| lowest | 1, 2 | 8 | 1,234 | 5 | 1.000 | 0.500 | 0.750 |",
    ]
    rest = " | ".join(["+0.050 [-0.050, +0.150]"] * 4)
    assert tables[5].splitlines()[2:] == [
        f"| nq | mitigated - dense | **+0.250 [+0.150, +0.350]** | {rest} |",
        f"|  | lowest - dense | **+0.250 [+0.150, +0.350]** | {rest} |",
        f"|  | mitigated - lowest | **+0.250 [+0.150, +0.350]** | {rest} |",
    ]
    assert all(len({line.count("|") for line in table.splitlines()}) == 1 for table in tables)


def test_a_choice_on_too_little_text_has_no_share(run):
    path = run / "scores.json"
    found = json.loads(path.read_text()) | {"stability": {}, "thin": {"avss": 1}}
    path.write_text(json.dumps(found))
    assert "| avss | 1, 4 | 4.250 [4.150, 4.350] |  | too little text |" in _tables(run).splitlines()


def test_a_missing_file_is_named(run):
    (run / "scores.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"scores\.json"):
        _tables(run)


def test_what_is_kept_has_its_interval(run):
    table = _tables(run).split("\n\n")[3]
    assert table.splitlines()[2:] == [
        "| nq, accuracy | 50 % [40, 60] | 56 % [46, 66] | 62 % [52, 72] |",
        "| mean of the sets | 50 % [40, 60] | 56 % [46, 66] | 62 % [52, 72] |",
        "| nq, preference | 90 % [80, 100] | 90 % [80, 100] | 90 % [80, 100] |",
        "| mean of the sets, preference | 90 % [80, 100] | 90 % [80, 100] | 90 % [80, 100] |",
        "| nq, gold loss | 95 % [85, 105] | 95 % [85, 105] | 95 % [85, 105] |",
        "| mean of the sets, gold loss | 95 % [85, 105] | 95 % [85, 105] | 95 % [85, 105] |",
        "| sentiment, accuracy | 75 % [65, 85] | 75 % [65, 85] | 75 % [65, 85] |",
        "| sentiment, over chance | nothing to keep | nothing to keep | nothing to keep |",
        "| language modelling, NLL | 80 % [70, 90] | 80 % [70, 90] | 80 % [70, 90] |",
    ]


def test_a_run_without_healing_has_no_row_and_no_column_of_it(run):
    (run / "healing/figures.json").write_text(json.dumps({"enabled": False}))
    assert "healed" not in _tables(run)
    assert "| nq, accuracy | 50 % [40, 60] | 56 % [46, 66] |" in _tables(run).splitlines()


def test_a_run_without_repair_has_no_row_and_no_column_of_it(run):
    path = run / "evaluation/figures.json"
    record = json.loads(path.read_text())
    del record["repaired"]
    path.write_text(json.dumps(record))
    assert "repaired" not in _tables(run)
    assert "| nq, accuracy | 50 % [40, 60] | 62 % [52, 72] |" in _tables(run).splitlines()


def test_speed_has_a_ratio_for_all_but_the_first():
    ratio, unsure = {"value": 1.25, "low": 1.2, "high": 1.3}, {"value": 1.25, "low": 0.9, "high": 1.4}
    times = {
        "workload": {"batch_sizes": [1, 8]},
        "models": {
            "dense": {"prefill": 100.0, "decode": {"1": 10.0, "8": 40.0}, "peak_bytes": 2_000_000},
            "pruned": {"prefill": 125.0, "decode": {"1": 12.5, "8": 50.0}, "peak_bytes": None},
        },
        "ratios": {"pruned": {"prefill": ratio, "decode": {"1": ratio, "8": unsure}}},
    }
    assert speed_table(times).splitlines() == [
        "| model | prefill, tokens/s | decode, batch 1 | decode, batch 8 | peak memory, MB |",
        "| --- | --- | --- | --- | --- |",
        "| dense | 100.0 | 10.0 | 40.0 | 2 |",
        "| pruned | 125.0 (1.25 times [1.20, 1.30]) | 12.5 (1.25 times [1.20, 1.30]) "
        "| 50.0 (1.25 times [0.90, 1.40], not certain: the machine was busy) | - |",
    ]


def test_speed_that_was_not_measured_is_no_table():
    assert speed_table({"enabled": False}) == "Speed: not measured (speed.enabled)"


def test_a_set_named_like_markup_stays_in_its_cell(run):
    usual = _tables(run)
    for path in run.rglob("*.json"):
        path.write_text(path.read_text().replace('"nq"', json.dumps("a|b\n\n<x>")))
    assert _tables(run) == usual.replace("nq", r"a\|b \<x\>")


def test_before_the_tables_stand_what_was_run_and_the_verdict_of_the_page(tmp_path):
    records = run_records()
    files = (
        "scores.json",
        "repair.json",
        "localization.json",
        "prepared/manifest.json",
        "dense/model_card.json",
    )
    files += tuple(f"{name}/figures.json" for name in ("evaluation", "healing", "mitigation"))
    for file in (*files, "pruned/certificate.json"):
        write_json(tmp_path / "data" / file, records[file])
    parameters = {"seed": "7", "gates.min_retention": "0.9"}
    write_json(tmp_path / "reports/run.json", {"parameters": parameters})
    head, first, left_out, sentences, *_ = _whole(tmp_path / "data").split("\n\n")
    again = "1 row was left out: 1 asked again a question of another row"
    assert left_out == "Data. " + " ".join(
        f"{name}: {again}." for name in records["prepared/manifest.json"]["sets"]
    )
    assert head == (
        "### tiny: data dddddddddd (questions hub, sentiment hub, text hub), seed 7; "
        "small n: nq 60, wikiqa 60"
    )
    assert first == "\n".join(f"- {plain(line)}" for line in opening(named(records), 0.9))
    assert first.endswith("- Do not use it: 4 figures kept too little for the gate of 90 %.")
    assert len(sentences.splitlines()) == 6
    assert sentences.startswith("- ▼ worse: Without 1 of 4 layers (2; chosen by avss) the model keeps 50.0")
    for counts in records["prepared/manifest.json"]["sets"].values():
        counts["duplicates"] = 0
    write_json(tmp_path / "data/prepared/manifest.json", records["prepared/manifest.json"])
    assert "left out" not in _whole(tmp_path / "data")
    for parameters in ({"parameters": {"gates.min_retention": "null"}}, None):  # no gate, no report
        (tmp_path / "reports/run.json").unlink()
        if parameters:
            write_json(tmp_path / "reports/run.json", parameters)
        assert "- Do not use it in place of the dense model: text, " in _whole(tmp_path / "data")


def test_a_share_of_few_questions_has_no_interval_and_none_is_less_than_nothing(run):
    path = run / "evaluation/figures.json"
    found = json.loads(path.read_text())
    found["retention"]["generation"]["sets"]["nq"] |= {"n": 19, "accuracy_before": 0.6}
    found["repaired"]["retention"]["generation"]["sets"]["nq"]["accuracy_before"] = 0.1
    over_chance = {"value": -1e-16, "low": -0.36, "high": 0.35}
    found["retention"]["classification"]["sentiment"]["retention_over_chance"] = over_chance
    path.write_text(json.dumps(found))
    table = _tables(run).split("\n\n")[3]
    few = "the dense model answers 7 of 70: too few for a share"
    assert f"| nq, accuracy | 50 %, too few questions to say (nq: 19) | {few} | 62 % [52, 72] |" in table
    assert "| sentiment, over chance | 0 % [-36, 35] |" in table


def test_what_few_questions_changed_is_not_bold(run):
    path = run / "mitigation/figures.json"
    found = json.loads(path.read_text())
    control = {"training": found["training"], "figures": _model(0.5), "divergence": _entry(0.5)}
    found["controls"] = {"lowest": control | {"against_base": found["mitigated_against_base"]}}
    found["mitigated"]["sets"]["nq"]["n"] = 19
    path.write_text(json.dumps(found))
    rows = _tables(run).split("\n\n")[5].splitlines()[2:]
    assert ["**" in row for row in rows] == [False, True]
