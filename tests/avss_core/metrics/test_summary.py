import json
import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from avss_core.metrics import litcab
from avss_core.metrics.bootstrap import bootstrap_interval
from avss_core.metrics.calibration import (
    accuracy_at,
    accuracy_coverage_curve,
    auroc,
    brier,
    brier_skill,
    coverage_at,
    ece,
    reliability,
)
from avss_core.metrics.summary import CURVE_POINTS, FIGURES, SMALL_N, changes, contrast, summarise

ONE_BY_ONE: dict[str, Callable[..., float]] = {
    "accuracy": partial(accuracy_at, share=1.0),
    "accuracy_at_50": accuracy_at,
    "coverage_at_50": coverage_at,
    "ece": ece,
    "brier": brier,
    "brier_skill": brier_skill,
    "auroc": auroc,
    "accuracy_at_50_litcab": litcab.acc_at_litcab,
    "coverage_at_50_litcab": litcab.cov_at_litcab,
    "ece_litcab": litcab.ece_litcab,
}
NOTHING = {"value": None, "low": None, "high": None}


def sample(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    confidence = generator.random(n)
    return confidence, generator.random(n) < confidence


def test_a_summary_gives_each_figure_with_its_interval() -> None:
    confidence, correct = sample(200, seed=0)
    confidence = confidence.round(2)  # so that there are ties
    summary = json.loads(json.dumps(summarise(confidence, correct, seed=5), allow_nan=False))
    assert set(summary) == {"n", "small_n", "reliability", "curve", *ONE_BY_ONE}
    assert summary["n"] == 200
    assert summary["small_n"] is False
    for name, function in ONE_BY_ONE.items():
        ends = bootstrap_interval(function, confidence, correct, seed=5)
        expected = {"value": function(confidence, correct), "low": ends[0], "high": ends[1]}
        assert summary[name] == pytest.approx(expected), name
        assert ends[0] < ends[1]
    assert summary == summarise(confidence, correct, seed=5)
    assert summary != summarise(confidence, correct, seed=6)


def test_a_summary_holds_the_diagram_and_the_curve() -> None:
    confidence, correct = sample(30, seed=1)
    summary = summarise(confidence, correct, seed=0)
    for found, expected in zip(summary["reliability"], reliability(confidence, correct), strict=True):
        assert found["count"] == expected.count
        assert (found["accuracy"] is None) == math.isnan(expected.accuracy) == (expected.count == 0)
    coverage, accuracy = accuracy_coverage_curve(confidence, correct)
    assert [point["coverage"] for point in summary["curve"]] == coverage.tolist()
    assert [point["accuracy"] for point in summary["curve"]] == accuracy.tolist()


@pytest.mark.parametrize("n", [CURVE_POINTS, CURVE_POINTS + 1, 500])
def test_a_long_curve_is_thinned_and_keeps_its_ends(n: int) -> None:
    confidence, correct = sample(n, seed=1)
    points = summarise(confidence, correct, seed=0)["curve"]
    assert len(points) == CURVE_POINTS
    assert points[0]["coverage"] == 1 / n
    assert points[-1] == {"coverage": 1.0, "accuracy": correct.mean()}


def test_a_summary_of_no_answers_is_null() -> None:
    summary = summarise([], [], seed=0)
    assert summary["curve"] == []
    assert [each["count"] for each in summary["reliability"]] == [0] * 10
    assert {name: summary[name] for name in FIGURES} == dict.fromkeys(FIGURES, NOTHING)
    assert (summary["n"], summary["small_n"]) == (0, True)


def test_a_summary_of_one_answer_is_a_point() -> None:
    values = {"accuracy": 1.0, "accuracy_at_50": 1.0, "coverage_at_50": 1.0, "ece": 0.25, "brier": 0.0625,
              "brier_skill": None, "auroc": None, "ece_litcab": None, "accuracy_at_50_litcab": 1.0,
              "coverage_at_50_litcab": 0.0}  # fmt: skip
    points = {name: {"value": value, "low": value, "high": value} for name, value in values.items()}
    summary = summarise([0.75], [True], seed=0)
    assert {name: summary[name] for name in FIGURES} == points


def test_a_summary_in_many_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = sample(40, seed=0)
    whole = summarise(*answers, seed=0)
    for held in (39 * 40, 1):
        monkeypatch.setattr("avss_core.metrics.bootstrap.RESAMPLED_AT_ONCE", held)
        assert summarise(*answers, seed=0) == whole


def test_small_n_ends_at_its_limit() -> None:
    assert summarise([0.5] * (SMALL_N - 1), [1] * (SMALL_N - 1), seed=0)["small_n"] is True
    assert summarise([0.5] * SMALL_N, [1] * SMALL_N, seed=0)["small_n"] is False


def test_all_figures_of_five_hundred_answers_take_under_two_seconds_of_the_processor() -> None:
    answers = sample(500, seed=0)
    start = time.process_time()
    summarise(*answers, seed=0)
    assert time.process_time() - start < 2


def test_changes_are_those_of_resamples_taken_one_by_one() -> None:
    before, after = sample(60, seed=0), sample(60, seed=1)
    found = changes(before, after, seed=3)
    assert found.keys() == ONE_BY_ONE.keys()
    for name, function in ONE_BY_ONE.items():

        def change(sure_a, right_a, sure_b, right_b, function=function):
            return function(sure_b, right_b) - function(sure_a, right_a)

        low, high = bootstrap_interval(change, *before, *after, seed=3)
        expected = {"value": change(*before, *after), "low": low, "high": high}
        assert found[name] == pytest.approx(expected), name


def test_changes_of_the_same_answers_are_zero_and_of_swapped_ones_turn_around() -> None:
    before, after = sample(60, seed=0), sample(60, seed=1)
    for entry in changes(before, before, seed=0).values():
        assert entry == {"value": 0.0, "low": 0.0, "high": 0.0}
    there, back = changes(before, after, seed=0), changes(after, before, seed=0)
    for name, entry in there.items():
        assert entry["low"] == pytest.approx(-back[name]["high"])


def test_changes_need_as_many_answers_after_as_before() -> None:
    with pytest.raises(ValueError, match="there are 3 answers before and 4 after"):
        changes(sample(3, seed=0), sample(4, seed=0), seed=0)


def test_a_contrast_is_linear_in_the_figures_of_each_resample() -> None:
    first, second, third = (sample(60, seed=seed) for seed in (0, 1, 2))
    found = contrast([(1.0, first), (-0.5, second), (-0.5, third)], seed=3)
    for name, function in ONE_BY_ONE.items():

        def over_mean(a, b, c, d, e, f, function=function):
            return function(a, b) - (function(c, d) + function(e, f)) / 2

        low, high = bootstrap_interval(over_mean, *first, *second, *third, seed=3)
        expected = {"value": over_mean(*first, *second, *third), "low": low, "high": high}
        assert found[name] == pytest.approx(expected), name


def test_a_contrast_needs_equally_many_answers() -> None:
    with pytest.raises(ValueError, match=r"the models have \[3, 4\] answers"):
        contrast([(1.0, sample(3, seed=0)), (-1.0, sample(4, seed=0))], seed=0)
    with pytest.raises(ValueError, match=r"the models have \[\] answers"):
        contrast([], seed=0)
