import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.metrics.litcab import acc_at_litcab, cov_at_litcab, ece_litcab

JUDGED = Path(__file__).resolve().parents[4] / "shared" / "data" / "judge"
ROWS = st.lists(
    st.tuples(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.3, 0.5, 1.0])), st.integers(0, 1)),
    min_size=1,
    max_size=30,
)


def naive_ece(confidence: list[float], correct: list[int]) -> float:
    """Return the stretched calibration error, answer by answer."""
    lowest = min(confidence)
    highest = max(value - lowest for value in confidence)
    if highest == 0:
        return math.nan
    held: dict[int, list[int]] = {}
    for value, verdict in zip(confidence, correct, strict=True):
        held.setdefault(int((value - lowest) / highest / 0.1), []).append(verdict)
    total = 0.0
    for place, verdicts in held.items():
        target = 1.0 if place == 10 else (place + 0.5) / 10
        total += len(verdicts) / len(confidence) * abs(sum(verdicts) / len(verdicts) - target)
    return total


def naive_coverage(confidence: list[float], correct: list[int], accuracy: float) -> float:
    """Return the largest share over an accuracy, the last answer left out."""
    falling = sorted(zip(confidence, correct, strict=True), reverse=True)
    best = 0
    for taken in range(1, len(falling)):
        if sum(verdict for _, verdict in falling[:taken]) / taken > accuracy:
            best = taken
    return best / len(falling)


def test_the_calibration_error_by_hand() -> None:
    # Stretched to 0, 0.5 and 1: held against the middles 0.05 and 0.55, and against 1.
    assert ece_litcab([0.25, 0.5, 0.75], [0, 1, 0]) == pytest.approx((0.05 + 0.45 + 1) / 3)
    assert ece_litcab([0.0, 1.0], [0, 1]) == pytest.approx(0.025)
    assert ece_litcab([0.2, 0.3], [0, 1]) == pytest.approx(0.025), "only the order is left of two answers"
    assert math.isnan(ece_litcab([0.4, 0.4], [0, 1]))


def test_the_selective_figures_by_hand() -> None:
    assert acc_at_litcab([0.9, 0.8, 0.7], [0, 1, 1]) == 0.0, "half of three is one"
    assert acc_at_litcab([0.9], [1]) == 1.0, "half of one is none, and none is all"
    assert acc_at_litcab([0.9, 0.1], [1, 0], share=0.0) == 0.5
    assert acc_at_litcab([0.5, 0.5, 0.5, 0.5], [0, 1, 0, 1]) == 1.0, "correct ones are first among equals"
    assert cov_at_litcab([0.9, 0.8, 0.7, 0.6], [1, 0, 0, 0]) == 0.25, "a half does not exceed a half"
    assert cov_at_litcab([0.9, 0.8, 0.7, 0.6], [1, 1, 1, 1]) == 0.75, "all together are not tried"
    assert cov_at_litcab([0.5, 0.5, 0.5], [0, 1, 0]) == pytest.approx(1 / 3), "ties are split"
    assert cov_at_litcab([0.9], [1]) == 0.0


@given(ROWS, st.floats(0, 1))
def test_they_are_the_naive_ones(rows: list[tuple[float, int]], level: float) -> None:
    confidence, correct = [c for c, _ in rows], [y for _, y in rows]
    assert ece_litcab(confidence, correct) == pytest.approx(naive_ece(confidence, correct), nan_ok=True)
    assert cov_at_litcab(confidence, correct, level) == naive_coverage(confidence, correct, level)
    falling = [y for _, y in sorted(rows, reverse=True)]
    taken = falling[: int(len(rows) * level)] or falling
    assert acc_at_litcab(confidence, correct, level) == pytest.approx(np.mean(taken))


@given(st.lists(st.tuples(st.integers(0, 128), st.integers(0, 1)), min_size=1, max_size=30))
def test_the_calibration_error_does_not_know_the_scale(rows: list[tuple[int, int]]) -> None:
    correct = [y for _, y in rows]
    found = ece_litcab([c / 128 for c, _ in rows], correct)
    assert found == pytest.approx(ece_litcab([c / 512 + 0.5 for c, _ in rows], correct), nan_ok=True)


@pytest.mark.parametrize("level", [-0.1, 1.1])
def test_levels_outside_0_to_1_are_refused(level: float) -> None:
    with pytest.raises(ValueError, match=f"share is {level}"):
        acc_at_litcab([0.5], [1], share=level)
    with pytest.raises(ValueError, match=f"accuracy is {level}"):
        cov_at_litcab([0.5], [1], accuracy=level)


@pytest.mark.parametrize("function", [ece_litcab, acc_at_litcab, cov_at_litcab])
def test_figures_of_no_answers_are_nan(function) -> None:
    assert math.isnan(function([], []))


@pytest.mark.real
@pytest.mark.skipif(not JUDGED.is_dir(), reason="the judged answers are not beside the project")
@pytest.mark.parametrize("path", sorted(JUDGED.glob("*.jsonl")), ids=lambda path: path.stem)
def test_published_answers_have_the_naive_figures(path: Path) -> None:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    confidence, correct = [row["confidence"] for row in rows], [int(row["gpt4_correct"]) for row in rows]
    assert ece_litcab(confidence, correct) == pytest.approx(naive_ece(confidence, correct))
    assert cov_at_litcab(confidence, correct) == naive_coverage(confidence, correct, 0.5)
