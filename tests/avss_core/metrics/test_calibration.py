import json
import math
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score

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

ROWS = st.lists(
    st.tuples(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.3, 0.5, 1.0])), st.integers(0, 1)),
    min_size=1,
    max_size=30,
)
FUNCTIONS = [accuracy_at, coverage_at, ece, brier]
MORE = [auroc, brier_skill]
JUDGED = Path(__file__).resolve().parents[4] / "shared" / "data" / "judge"


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
    assert accuracy_at([0.9, 0.8, 0.1], [1, 0, 0]) == 1.0, "half of three is rounded down to one"
    assert accuracy_at(confidence, correct, share=0.0) == 1.0, "at least one answer"
    assert accuracy_at([0.2], [1]) == 1.0


def test_accuracy_at_rounds_no_whole_number_down() -> None:
    correct = [1] * 28 + [0] * 72
    assert math.floor(100 * 0.29) == 28
    assert accuracy_at(np.linspace(1, 0, 100), correct, share=0.29) == 28 / 29
    assert accuracy_at(np.linspace(1, 0, 100), correct, share=0.289) == 1.0


@given(st.integers(1, 200), st.data())
def test_accuracy_at_takes_the_number_that_the_share_names(size: int, data: st.DataObject) -> None:
    taken = data.draw(st.integers(1, size))
    correct = [1] * taken + [0] * (size - taken)
    assert accuracy_at(np.linspace(1, 0, size), correct, share=taken / size) == 1.0
    assert coverage_at(np.linspace(1, 0, size), correct, accuracy=1.0) == taken / size


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
    for figure in [*FUNCTIONS, *MORE]:
        found = figure(*columns(rows))
        assert found == pytest.approx(figure(*columns(shuffled)), rel=1e-9, abs=1e-12, nan_ok=True)


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


@pytest.mark.parametrize("figure", [*FUNCTIONS, *MORE])
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


@pytest.mark.parametrize("function", [*FUNCTIONS, *MORE])
@pytest.mark.parametrize("empty", [[], np.array([]), torch.tensor([])], ids=["list", "array", "tensor"])
def test_figures_of_no_answers_are_nan(function: Callable[..., float], empty: Any) -> None:
    assert math.isnan(function(empty, empty))


def test_reliability_of_no_answers_is_empty_bins() -> None:
    assert [each.count for each in reliability([], [], 3)] == [0, 0, 0]


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


def test_ece_of_few_answers_is_biased_upwards_even_when_calibrated() -> None:
    few, many = (np.mean([ece(*sample(n, seed)) for seed in range(50)]) for n in (50, 5000))
    assert few > 0.1
    assert many < 0.02


def test_auroc_by_hand() -> None:
    # Three pairs of a correct and a wrong answer: one is won, one lost, one tied.
    assert auroc([0.5, 0.9, 0.2, 0.5], [1, 0, 0, 0]) == 0.5
    assert auroc([0.9, 0.8, 0.1], [1, 1, 0]) == 1.0
    assert auroc([0.1, 0.9], [1, 0]) == 0.0
    assert auroc([0.3, 0.3, 0.3], [1, 0, 0]) == 0.5


@given(ROWS)
def test_auroc_is_scikit_learn_s(rows: list[tuple[float, int]]) -> None:
    confidence, correct = columns(rows)
    if len(set(correct)) == 2:
        assert auroc(confidence, correct) == pytest.approx(roc_auc_score(correct, confidence))


def test_brier_skill_by_hand() -> None:
    assert brier_skill([1.0, 0.0], [1, 0]) == 1.0
    assert brier_skill([0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0]) == 0.0, "the share itself has no skill"
    # The squares add up to 0.25 + 0.01 over two answers, against 1/4.
    assert brier_skill([0.5, 0.1], [1, 0]) == pytest.approx(1 - 0.13 / 0.25)
    assert brier_skill([0.0, 1.0], [1, 0]) == -3.0


@pytest.mark.parametrize("function", MORE)
@pytest.mark.parametrize("correct", [0, 1])
def test_what_needs_both_classes_is_nan_for_one(function: Callable[..., float], correct: int) -> None:
    assert math.isnan(function([0.2, 0.7, 0.7], [correct] * 3))


def test_the_curve_by_hand() -> None:
    coverage, accuracy = accuracy_coverage_curve([0.5, 0.9, 0.5, 0.1], [1, 1, 0, 0])
    assert coverage.tolist() == [0.25, 0.75, 1.0]
    assert accuracy.tolist() == [1.0, 2 / 3, 0.5]
    assert [column.size for column in accuracy_coverage_curve([], [])] == [0, 0]


@given(ROWS, st.floats(0, 1))
def test_coverage_is_read_off_the_curve(rows: list[tuple[float, int]], level: float) -> None:
    confidence, correct = columns(rows)
    coverage, accuracy = accuracy_coverage_curve(confidence, correct)
    assert (np.diff(coverage) > 0).all()
    assert accuracy[-1] == np.mean(correct)
    assert coverage_at(confidence, correct, level) == max([0.0, *coverage[accuracy >= level]])


@pytest.mark.real
@pytest.mark.skipif(not JUDGED.is_dir(), reason="the judged answers are not beside the project")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sciq.gpt2-xl", (0.185, 0.258, 0.120, 0.066, 0.137)),
        ("nq.llama-7b-hf", (0.238, 0.358, 0.272, 0.143, 0.174)),
        ("wikiqa.gpt-j-6b", (0.181, 0.240, 0.0, 0.037, 0.149)),
    ],
)
def test_the_figures_of_published_answers(name: str, expected: tuple[float, ...]) -> None:
    lines = (JUDGED / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    confidence = [row["confidence"] for row in rows]
    correct = [row["gpt4_correct"] for row in rows]
    accuracy = accuracy_at(confidence, correct, share=1.0)
    found = (accuracy, *(function(confidence, correct) for function in FUNCTIONS))
    # Half a unit of the last digit, and a little for the binary form of .1365.
    assert found == pytest.approx(expected, abs=0.0005 + 1e-6)
