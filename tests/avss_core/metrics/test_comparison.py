import numpy as np
import pytest

from avss_core.metrics.calibration import accuracy_at, ece
from avss_core.metrics.comparison import (
    difference_to_mean,
    mean_with_interval,
    paired,
    paired_difference,
    paired_means,
)
from avss_core.metrics.summary import FIGURES


def answers(n: int, seed: int) -> list[dict]:
    generator = np.random.default_rng(seed)
    sure, right = generator.random(n), generator.random(n) < 0.5
    return [
        {"id": f"q{i}", "confidence": float(sure[i]), "correct": bool(right[i])}
        for i in generator.permutation(n)
    ]


def test_a_mean_by_hand() -> None:
    assert mean_with_interval([1, 1, 1], seed=0) == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert mean_with_interval([], seed=0) == {"value": None, "low": None, "high": None}
    assert paired_means([1.0, 2.0], [2.0, 3.0], seed=0) == {"value": 1.0, "low": 1.0, "high": 1.0}
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        paired_means([1.0, 2.0], [2.0], seed=0)


def test_answers_are_paired_by_id_whatever_their_order() -> None:
    before, after = answers(30, seed=0), answers(30, seed=1)
    first, second = paired(before, after)
    assert [row["id"] for row in first] == [row["id"] for row in second] == sorted(r["id"] for r in before)
    assert paired_difference(before, after, seed=0) == paired_difference(before[::-1], after, seed=0)


def test_a_difference_is_that_of_the_figures() -> None:
    before, after = answers(30, seed=0), answers(30, seed=1)
    found = paired_difference(before, after, seed=0)
    assert found.keys() == {"n", "retention", *FIGURES}
    assert found["n"] == 30
    old, new = ([[row[key] for row in rows] for key in ("confidence", "correct")] for rows in (before, after))
    for name, function in (("ece", ece), ("accuracy_at_50", accuracy_at)):
        assert found[name]["value"] == pytest.approx(function(*new) - function(*old))
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert found["retention"] == pytest.approx(sum(new[1]) / sum(old[1]))


def test_nothing_right_before_has_no_retention() -> None:
    before = [{"id": "a", "confidence": 0.5, "correct": False}]
    assert paired_difference(before, before, seed=0)["retention"] is None


def test_other_questions_are_refused() -> None:
    before, after = answers(3, seed=0), answers(4, seed=0)
    with pytest.raises(ValueError, match=r"only one has \['q3'\]"):
        paired_difference(before, after, seed=0)
    with pytest.raises(ValueError, match="only one has any"):
        paired([], [])


def test_the_difference_to_the_mean_of_others() -> None:
    own, *others = (answers(30, seed=seed) for seed in range(4))
    single = paired_difference(others[0], own, seed=0)
    assert difference_to_mean(others[:1], own, seed=0) == {
        k: v for k, v in single.items() if k != "retention"
    }
    assert difference_to_mean([others[0]] * 3, own, seed=0)["accuracy"] == pytest.approx(single["accuracy"])
    found = difference_to_mean(others, own, seed=0)
    alone = [paired_difference(rows, own, seed=0)["brier"]["value"] for rows in others]
    assert found["brier"]["value"] == pytest.approx(sum(alone) / 3)
    with pytest.raises(ValueError, match="there is no other model"):
        difference_to_mean([], own, seed=0)
    with pytest.raises(ValueError, match=r"only one has \['q3'\]"):
        difference_to_mean([answers(4, seed=0)], answers(3, seed=1), seed=0)
