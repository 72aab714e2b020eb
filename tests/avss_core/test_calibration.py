import json
import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score

from avss_core import calibration
from avss_core.calibration import (
    SMALL_N,
    accuracy_at,
    bootstrap_interval,
    brier,
    coverage_at,
    ece,
    reliability,
    summarise,
)

ROWS = st.lists(
    st.tuples(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.3, 0.5, 1.0])), st.integers(0, 1)),
    min_size=1,
    max_size=30,
)
FUNCTIONS = [accuracy_at, coverage_at, ece, brier]
FIGURES = ["accuracy", "accuracy_at_50", "coverage_at_50", "ece", "brier"]


def columns(rows: list[tuple[float, int]]) -> tuple[list[float], list[int]]:
    return [confidence for confidence, _ in rows], [correct for _, correct in rows]


def sample(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    confidence = generator.random(n)
    return confidence, generator.random(n) < confidence


def naive_ece(confidence: list[float], correct: list[int], bins: int) -> float:
    total = 0.0
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        held = [
            (c, y)
            for c, y in zip(confidence, correct, strict=True)
            if low <= c < high or (index == bins - 1 and c == 1)
        ]
        if held:
            gap = sum(y for _, y in held) / len(held) - sum(c for c, _ in held) / len(held)
            total += len(held) / len(confidence) * abs(gap)
    return total


def naive_coverage(confidence: list[float], correct: list[int], accuracy: float) -> float:
    best = 0
    for cut in confidence:
        taken = [y for c, y in zip(confidence, correct, strict=True) if c >= cut]
        if sum(taken) / len(taken) >= accuracy:
            best = max(best, len(taken))
    return best / len(confidence)


def test_accuracy_at_by_hand() -> None:
    confidence, correct = [0.9, 0.1, 0.8, 0.4], [1, 1, 0, 0]
    assert accuracy_at(confidence, correct) == 0.5
    assert accuracy_at(confidence, correct, share=0.25) == 1.0
    assert accuracy_at(confidence, correct, share=1.0) == 0.5
    assert accuracy_at([0.9, 0.8, 0.1], [1, 1, 0]) == 1.0, "half of three is rounded up to two"
    assert accuracy_at(confidence, correct, share=0.0) == 1.0, "at least one answer"
    assert accuracy_at([0.2], [1]) == 1.0


def test_accuracy_at_rounds_no_whole_number_up() -> None:
    correct = [1] * 7 + [0] * 93
    assert math.ceil(100 * 0.07) == 8
    assert accuracy_at(np.linspace(1, 0, 100), correct, share=0.07) == 1.0
    assert accuracy_at(np.linspace(1, 0, 100), correct, share=0.071) == 7 / 8


def test_accuracy_at_takes_the_expectation_over_ties() -> None:
    confidence, correct = [0.9, 0.5, 0.5, 0.5], [0, 1, 1, 0]
    rows = list(zip(confidence, correct, strict=True))
    halves = [sorted(order, key=lambda row: -row[0])[:2] for order in permutations(rows)]
    expected = np.mean([(first[1] + second[1]) / 2 for first, second in halves])
    assert accuracy_at(confidence, correct) == pytest.approx(expected) == pytest.approx(1 / 3)


def test_coverage_at_by_hand() -> None:
    confidence = [0.9, 0.8, 0.7, 0.6]
    assert coverage_at(confidence, [1, 0, 0, 0]) == 0.5
    assert coverage_at(confidence, [0, 1, 0, 0]) == 0.5, "the most confident answer alone need not reach it"
    assert coverage_at(confidence, [0, 0, 1, 0]) == 0.0
    assert coverage_at(confidence, [0, 0, 1, 1]) == 1.0
    assert coverage_at(confidence, [1, 1, 1, 0], accuracy=0.75) == 1.0
    assert coverage_at(confidence, [1, 1, 1, 0], accuracy=0.76) == 0.75
    assert coverage_at([0.9, 0.5, 0.5, 0.5], [1, 1, 0, 0], accuracy=0.6) == 0.25, "ties are taken whole"
    assert coverage_at([0.5, 0.5], [1, 0], accuracy=0.6) == 0.0
    assert coverage_at([0.5], [0], accuracy=0.0) == 1.0


def test_coverage_at_reaches_an_accuracy_that_binary_numbers_round() -> None:
    assert coverage_at(np.linspace(1, 0, 10), [1] * 7 + [0] * 3, accuracy=0.7) == 1.0


def test_ece_by_hand() -> None:
    # Bin 0.9 to 1: accuracy 1/2 against 0.95; bin 0.2 to 0.3: 1 against 0.2.
    assert ece([0.9, 1.0, 0.2], [1, 0, 1]) == pytest.approx((2 * 0.45 + 0.8) / 3)
    assert ece([0.0, 1.0], [0, 1]) == 0.0
    assert ece([0.0, 1.0], [1, 0]) == 1.0
    assert ece([0.25, 0.75], [0, 1], bins=1) == 0.0


def test_reliability_by_hand() -> None:
    first, *inner, last = reliability([0.0, 1.0, 0.3, 0.95], [1, 1, 0, 0])
    assert (first.lower, first.upper, first.count, first.confidence, first.accuracy) == (
        0.0,
        0.1,
        1,
        0.0,
        1.0,
    )
    assert (last.lower, last.upper, last.count, last.confidence, last.accuracy) == (0.9, 1.0, 2, 0.975, 0.5)
    assert [each.count for each in inner] == [0, 0, 1, 0, 0, 0, 0, 0]
    assert math.isnan(inner[0].confidence)
    assert math.isnan(inner[0].accuracy)
    assert all(type(each.lower) is float and type(each.count) is int for each in inner)


def test_every_edge_is_in_the_bin_above() -> None:
    edges = [index / 100 for index in range(101)]
    assert [each.count for each in reliability(edges, [0] * 101, bins=100)] == [1] * 99 + [2]


@given(ROWS, st.integers(1, 20))
def test_ece_is_the_naive_one(rows: list[tuple[float, int]], bins: int) -> None:
    confidence, correct = columns(rows)
    members = reliability(confidence, correct, bins)
    gaps = [each.count * abs(each.accuracy - each.confidence) for each in members if each.count]
    assert len(members) == bins
    assert sum(each.count for each in members) == len(rows)
    assert ece(confidence, correct, bins) == pytest.approx(sum(gaps) / len(rows), abs=1e-12)
    assert ece(confidence, correct, bins) == pytest.approx(naive_ece(confidence, correct, bins), abs=1e-12)


def test_reliability_is_scikit_learn_s_curve() -> None:
    confidence, correct = sample(500, seed=0)
    accuracy, mean = calibration_curve(correct, confidence, n_bins=10)
    members = reliability(confidence, correct)
    np.testing.assert_allclose([each.accuracy for each in members], accuracy)
    np.testing.assert_allclose([each.confidence for each in members], mean)


@given(ROWS)
def test_brier_is_scikit_learn_s(rows: list[tuple[float, int]]) -> None:
    confidence, correct = columns(rows)
    expected = brier_score_loss(correct, confidence, labels=[0, 1])
    assert brier(confidence, correct) == pytest.approx(expected, abs=1e-12)


@given(ROWS, st.floats(0, 1))
def test_coverage_is_the_naive_one(rows: list[tuple[float, int]], accuracy: float) -> None:
    confidence, correct = columns(rows)
    assert coverage_at(confidence, correct, accuracy) == naive_coverage(confidence, correct, accuracy)


@given(ROWS, st.floats(0, 1), st.floats(0, 1))
def test_coverage_falls_as_more_accuracy_is_asked(
    rows: list[tuple[float, int]], one: float, two: float
) -> None:
    confidence, correct = columns(rows)
    strict, loose = (coverage_at(confidence, correct, level) for level in (max(one, two), min(one, two)))
    assert strict <= loose


@given(ROWS)
def test_all_answers_are_covered_at_their_own_accuracy(rows: list[tuple[float, int]]) -> None:
    confidence, correct = columns(rows)
    overall = accuracy_at(confidence, correct, share=1.0)
    assert overall == sum(correct) / len(correct)
    assert coverage_at(confidence, correct, overall) == 1.0


@given(ROWS, st.randoms(use_true_random=False))
def test_order_does_not_matter(rows: list[tuple[float, int]], random: Any) -> None:
    shuffled = random.sample(rows, len(rows))
    for figure in FUNCTIONS:
        assert figure(*columns(rows)) == pytest.approx(figure(*columns(shuffled)), abs=1e-12)


@given(ROWS)
def test_figures_are_shares(rows: list[tuple[float, int]]) -> None:
    for figure in FUNCTIONS:
        assert 0 <= figure(*columns(rows)) <= 1


@given(ROWS, st.floats(0, 1))
def test_selective_figures_know_only_the_order_of_confidence(
    rows: list[tuple[float, int]], level: float
) -> None:
    confidence, correct = columns(rows)
    ranks = [sorted(set(confidence)).index(value) / len(rows) for value in confidence]
    assert accuracy_at(ranks, correct, level) == accuracy_at(confidence, correct, level)
    assert coverage_at(ranks, correct, level) == coverage_at(confidence, correct, level)


@pytest.mark.parametrize("figure", FUNCTIONS)
def test_lists_arrays_and_tensors_give_the_same_float(figure: Callable[..., float]) -> None:
    confidence, correct = [0.75, 0.25, 0.5], [True, False, True]
    expected = figure(confidence, correct)
    graph = torch.tensor(confidence, dtype=torch.bfloat16, requires_grad=True)
    others = [
        (np.array(confidence), np.array(correct)),
        (np.array(confidence, dtype=np.float16), np.array(correct, dtype=np.uint8)),
        (torch.tensor(confidence), torch.tensor(correct)),
        (graph, torch.tensor(correct, dtype=torch.int64)),
        (confidence, torch.tensor(correct, dtype=torch.float32)),
    ]
    for value in (expected, *(figure(*both) for both in others)):
        assert value == expected
        assert type(value) is float


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("empty", [[], np.array([]), torch.tensor([])], ids=["list", "array", "tensor"])
def test_figures_of_no_answers_are_nan(function: Callable[..., float], empty: Any) -> None:
    assert math.isnan(function(empty, empty))


def test_reliability_of_no_answers_is_empty_bins() -> None:
    assert [each.count for each in reliability([], [], 3)] == [0, 0, 0]


@pytest.mark.parametrize("function", [*FUNCTIONS, reliability])
@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([0.5, math.nan], [0, 1], r"confidence\[1\] is nan; expected a number from 0 to 1"),
        ([0.5, 0.5, 1.5], [0, 1, 1], r"confidence\[2\] is 1\.5"),
        ([-0.25, 2.0], [0, 1], r"confidence\[0\] is -0\.25"),
        ([0.5, math.inf], [0, 1], r"confidence\[1\] is inf"),
        ([0.5, 0.5], [0, math.nan], r"correct\[1\] is nan; expected 0 or 1"),
        ([0.5, 0.5], [0.5, 1], r"correct\[0\] is 0\.5"),
        ([0.5, 0.5], [1, 2], r"correct\[1\] is 2\.0"),
        ([0.5, 0.5], [1], r"confidence has shape \(2,\), correct \(1,\)"),
        ([], [1], r"confidence has shape \(0,\), correct \(1,\)"),
        (np.zeros((2, 1)), np.zeros((2, 1)), r"confidence has shape \(2, 1\), correct \(2, 1\)"),
    ],
)
def test_bad_columns_are_refused(
    function: Callable[..., Any], confidence: Any, correct: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        function(confidence, correct)


@pytest.mark.parametrize("level", [-0.1, 1.1, math.nan])
def test_levels_outside_0_to_1_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match=f"share is {level}"):
        accuracy_at([0.5], [1], share=level)
    with pytest.raises(ValueError, match=f"accuracy is {level}"):
        coverage_at([0.5], [1], accuracy=level)


@pytest.mark.parametrize("function", [ece, reliability])
def test_no_bins_are_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="bins is 0"):
        function([0.5], [1], bins=0)


def test_bootstrap_interval_is_scipy_s() -> None:
    values = np.random.default_rng(0).normal(size=100)
    ours = bootstrap_interval(np.mean, values, seed=1, resamples=4000)
    theirs = bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    draws = [generator.random(80) < 0.4 for _ in range(200)]
    intervals = [bootstrap_interval(np.mean, draw, seed=0, resamples=200, level=0.8) for draw in draws]
    assert 0.7 < np.mean([low <= 0.4 <= high for low, high in intervals]) < 0.9


def test_bootstrap_takes_the_same_rows_of_every_column() -> None:
    before = np.random.default_rng(0).random(30)
    low, high = bootstrap_interval(lambda one, two: (two - one).mean(), before, before + 0.25, seed=0)
    assert low == pytest.approx(0.25)
    assert high == pytest.approx(0.25)


def test_bootstrap_is_seeded_and_narrows_with_the_level() -> None:
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(np.mean, values, seed=3) == bootstrap_interval(
        np.mean, torch.tensor(values), seed=3
    )
    assert bootstrap_interval(np.mean, values, seed=3) != bootstrap_interval(np.mean, values, seed=4)
    wide, narrow = (bootstrap_interval(np.mean, values, seed=3, level=level) for level in (0.95, 0.5))
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]


@pytest.mark.parametrize("values", [[0.5], [0.5] * 20])
def test_bootstrap_of_one_row_or_equal_rows_is_a_point(values: list[float]) -> None:
    interval = bootstrap_interval(np.mean, values, seed=0)
    assert interval == (0.5, 0.5)
    assert [type(end) for end in interval] == [float, float]


def test_bootstrap_leaves_out_resamples_without_a_value() -> None:
    def auroc(confidence: np.ndarray, correct: np.ndarray) -> float:
        return roc_auc_score(correct, confidence) if 0 < correct.sum() < len(correct) else math.nan

    confidence, correct = [0.1, 0.2, 0.9], [0, 0, 1]
    assert bootstrap_interval(auroc, confidence, correct, seed=0, resamples=50) == (1.0, 1.0)
    assert all(map(math.isnan, bootstrap_interval(auroc, confidence, [1, 1, 1], seed=0, resamples=50)))


def test_bootstrap_without_rows_is_nan() -> None:
    assert all(map(math.isnan, bootstrap_interval(np.mean, [], seed=0)))


def test_bootstrap_refuses_what_it_cannot_resample() -> None:
    with pytest.raises(ValueError, match=r"the columns have \[1, 2\] rows"):
        bootstrap_interval(np.mean, [1.0], [1.0, 2.0], seed=0)
    with pytest.raises(ValueError, match=r"the columns have \[\] rows"):
        bootstrap_interval(np.mean, seed=0)
    with pytest.raises(ValueError, match="resamples is 0"):
        bootstrap_interval(np.mean, [1.0], seed=0, resamples=0)
    for level in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"level {level}"):
            bootstrap_interval(np.mean, [1.0], seed=0, level=level)


def test_summarise_gives_each_figure_with_its_interval() -> None:
    confidence, correct = sample(200, seed=0)
    summary = json.loads(json.dumps(summarise(confidence, correct, seed=5), allow_nan=False))
    assert set(summary) == {"n", "small_n", "accuracy", "accuracy_at_50", "coverage_at_50", "ece", "brier"}
    assert summary["n"] == 200
    assert summary["small_n"] is False
    assert summary["accuracy"]["value"] == correct.mean()
    assert summary["accuracy_at_50"]["value"] == accuracy_at(confidence, correct, 0.5)
    assert summary["coverage_at_50"]["value"] == coverage_at(confidence, correct, 0.5)
    assert summary["ece"]["value"] == ece(confidence, correct, 10)
    assert summary["brier"]["value"] == brier(confidence, correct)
    for name, function in zip(FIGURES[1:], FUNCTIONS, strict=True):
        one_by_one = bootstrap_interval(function, confidence, correct, seed=5)
        assert (summary[name]["low"], summary[name]["high"]) == pytest.approx(one_by_one)
    assert all(summary[name]["low"] < summary[name]["high"] for name in FIGURES)
    assert summary == summarise(confidence, correct, seed=5)
    assert summary != summarise(confidence, correct, seed=6)


def test_summarise_of_no_answers_is_null() -> None:
    nothing = {"value": None, "low": None, "high": None}
    assert summarise([], [], seed=0) == {"n": 0, "small_n": True} | dict.fromkeys(FIGURES, nothing)


def test_summarise_of_one_answer_is_a_point() -> None:
    expected = {"accuracy": 1.0, "accuracy_at_50": 1.0, "coverage_at_50": 1.0, "ece": 0.25, "brier": 0.0625}
    points = {name: {"value": value, "low": value, "high": value} for name, value in expected.items()}
    assert summarise([0.75], [True], seed=0) == {"n": 1, "small_n": True} | points


def test_a_summary_in_many_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = sample(40, seed=0)
    whole = summarise(*answers, seed=0)
    monkeypatch.setattr(calibration, "RESAMPLED_AT_ONCE", 39 * 40)
    assert summarise(*answers, seed=0) == whole
    monkeypatch.setattr(calibration, "RESAMPLED_AT_ONCE", 1)
    assert summarise(*answers, seed=0) == whole


def test_small_n_ends_at_its_limit() -> None:
    assert summarise([0.5] * (SMALL_N - 1), [1] * (SMALL_N - 1), seed=0)["small_n"] is True
    assert summarise([0.5] * SMALL_N, [1] * SMALL_N, seed=0)["small_n"] is False


def test_ece_of_few_answers_is_biased_upwards_even_when_calibrated() -> None:
    few, many = (np.mean([ece(*sample(n, seed)) for seed in range(50)]) for n in (50, 5000))
    assert few > 0.1
    assert many < 0.02
