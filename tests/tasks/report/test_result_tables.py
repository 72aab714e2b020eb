"""The tables of a run: their rows by hand, their columns, and that equal records give equal bytes."""

import csv

import pytest

from tasks.report.result_tables import (
    TABLES,
    calibration_rows,
    csv_text,
    eavss_rows,
    figure_rows,
    loss_rows,
    removal_rows,
    retention_rows,
    score_rows,
    write_tables,
)


def _band(value):
    return {"value": value, "low": value - 0.25, "high": value + 0.25}


def _cost(nll):
    return {"nll": nll, "interval": _band(nll)}


SCORES = {
    "dense": _cost(2.0),
    "readings": {
        "last_n": {"scores": [1.0, 0.0], "normalised": [1.0, 0.0], "removed": [1], "cost": _cost(3.0)},
        "avss": {"scores": [1.0, 3.0], "normalised": [0.25, 0.75], "removed": [0], "cost": _cost(2.5)},
    },
}
FIGURES = {
    "sets": {
        "nq": {
            "n": 4,
            "judge": "f1",
            "accuracy": _band(0.5),
            "auroc": {"value": None, "low": None, "high": None},
            "reliability": [
                {"count": 0, "confidence": None, "accuracy": None},
                {"count": 4, "confidence": 0.75, "accuracy": 0.5},
            ],
        }
    },
    "sentiment": {"n": 8, "accuracy": _band(0.75), "predicted_positive": 0.5},
}
RETENTION = {
    "generation": {
        "sets": {
            "nq": {
                "n": 40,
                "accuracy_before": 0.5,
                "retention": _band(0.5),
                "preference": {"n": 40, "accuracy_before": 0.2, "retention": _band(0.25)},
                "gold_nll": {"n": 40, "retention": _band(0.9)},
            }
        },
        "mean": _band(0.5),
        "preference": _band(0.625),
        "gold_nll": _band(0.9),
    },
    "classification": {"sentiment": {"retention": _band(1.0), "retention_over_chance": _band(0.75)}},
    "language_modelling": {"nll_retention": _band(0.875)},
}
LOCALIZATION = {"readings": {"eavss": {"values": [0.5, -0.5], "low": [0.25, -1.0], "high": [1.0, 0.0]}}}
TRAINING = {
    "steps": [{"tokens": 10, "loss": 3.0}, {"tokens": 20, "loss": 2.0}],
    "history": [{"step": 2, "validation_loss": 2.5}],
}


def _found(healing=True):
    return {
        "scores": SCORES,
        "evaluation": {
            "dense": FIGURES,
            "pruned": FIGURES,
            "retention": RETENTION,
            "repaired": {"figures": FIGURES, "retention": RETENTION},
        },
        "healing": {
            "enabled": healing,
            "training": TRAINING,
            "healed": FIGURES,
            "retention": {"after": RETENTION},
        },
        "localization": LOCALIZATION,
        "mitigation": {
            "mitigated": FIGURES,
            "training": TRAINING,
            "controls": {"all": {"figures": FIGURES, "training": TRAINING}},
        },
    }


def test_scores_say_of_each_layer_whether_it_goes():
    assert [tuple(row.values()) for row in score_rows(SCORES)] == [
        ("avss", 0, 1.0, 0.25, "yes"),
        ("avss", 1, 3.0, 0.75, "no"),
        ("last_n", 0, 1.0, 1.0, "no"),
        ("last_n", 1, 0.0, 0.0, "yes"),
    ]


def test_removal_starts_from_the_dense_model():
    assert [(row["name"], row["value"], row["low"], row["layers"]) for row in removal_rows(SCORES)] == [
        ("dense, nothing removed", 2.0, 1.75, ""),
        ("avss", 2.5, 2.25, "0"),
        ("last_n", 3.0, 2.75, "1"),
    ]


def test_a_loss_after_repair_stands_behind_the_one_before():
    readings = {name: {**each, "repaired": _cost(2.25)} for name, each in SCORES["readings"].items()}
    assert [
        (row["name"], row["value"], row["layers"]) for row in removal_rows(SCORES | {"readings": readings})
    ] == [
        ("dense, nothing removed", 2.0, ""),
        ("avss", 2.5, "0"),
        ("avss, repaired", 2.25, "0"),
        ("last_n", 3.0, "1"),
        ("last_n, repaired", 2.25, "1"),
    ]


def test_every_figure_with_an_interval_has_a_row_of_each_model():
    rows = figure_rows({"dense": FIGURES, "pruned": FIGURES})
    assert [(row["model"], row["set"], row["figure"], row["value"], row["n"]) for row in rows] == [
        (model, *figure)
        for model in ("dense", "pruned")
        for figure in (
            ("nq", "accuracy", 0.5, 4),
            ("nq", "auroc", None, 4),
            ("sentiment", "accuracy", 0.75, 8),
        )
    ]


def test_retention_has_the_names_of_the_report():
    rows = retention_rows({"pruned": RETENTION})
    assert {row["name"]: row["value"] for row in rows} == {
        "nq, accuracy": 0.5,
        "mean of the sets": 0.5,
        "nq, preference": None,  # of 8 preferred answers there is no share
        "mean of the sets, preference": 0.625,
        "nq, gold loss": 0.9,
        "mean of the sets, gold loss": 0.9,
        "sentiment, accuracy": 1.0,
        "sentiment, over chance": 0.75,
        "language modelling, NLL": 0.875,
    }


def test_a_bin_without_answers_is_no_point():
    (row,) = calibration_rows({"dense": FIGURES})
    assert row == {"panel": "nq", "series": "dense", "confidence": 0.75, "accuracy": 0.5, "count": 4}


def test_eavss_has_its_interval():
    columns = ("panel", "layer", "value", "low", "high")
    assert [tuple(row[name] for name in columns) for row in eavss_rows(LOCALIZATION)] == [
        ("eavss", 0, 0.5, 0.25, 1.0),
        ("eavss", 1, -0.5, -1.0, 0.0),
    ]


def test_losses_stand_at_the_tokens_learnt_from_so_far():
    assert [tuple(row.values()) for row in loss_rows({"healed": TRAINING})] == [
        ("healed, train", 1, 10, 3.0),
        ("healed, train", 2, 30, 2.0),
        ("healed, validation", 2, 30, 2.5),
    ]


@pytest.mark.parametrize("healing", [True, False])
def test_the_files_have_their_columns_and_the_same_bytes_each_time(tmp_path, healing):
    for name in ("first", "second"):
        write_tables(_found(healing), tmp_path / name)
    first = {path.stem: path.read_bytes() for path in (tmp_path / "first").iterdir()}
    assert first == {path.stem: path.read_bytes() for path in (tmp_path / "second").iterdir()}
    assert set(first) == (set(TABLES) if healing else set(TABLES) - {"healing"})
    for name, text in first.items():
        rows = list(csv.DictReader(text.decode().splitlines()))
        assert tuple(rows[0]) == TABLES[name]
    series = {row["series"] for row in csv.DictReader(first["training"].decode().splitlines())}
    kept = {row["series"] for row in csv.DictReader(first["retention"].decode().splitlines())}
    assert kept == {"pruned", "repaired", *(["healed"] if healing else [])}
    assert series == {"mitigated, train", "mitigated, validation", "all, train", "all, validation"}


def test_a_number_comes_back_as_it_was_and_what_is_unknown_is_empty():
    text = csv_text(("name", "value"), [{"name": "a, b", "value": 0.1 + 0.2}, {"name": "c", "value": None}])
    assert text == 'name,value\n"a, b",0.30000000000000004\nc,\n'
