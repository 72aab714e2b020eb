import math

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from avss_core.metrics.bootstrap import as_entry, bootstrap_interval, draws, interval


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
    def roc(confidence: np.ndarray, correct: np.ndarray) -> float:
        return roc_auc_score(correct, confidence) if 0 < correct.sum() < len(correct) else math.nan

    confidence, correct = [0.1, 0.2, 0.9], [0, 0, 1]
    assert bootstrap_interval(roc, confidence, correct, seed=0, resamples=50) == (1.0, 1.0)
    assert all(map(math.isnan, bootstrap_interval(roc, confidence, [1, 1, 1], seed=0, resamples=50)))


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


def test_draws_in_many_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(draws(40, seed=0, resamples=101)))
    assert whole.shape == (101, 40)
    for held in (39 * 40, 1):
        monkeypatch.setattr("avss_core.metrics.bootstrap.RESAMPLED_AT_ONCE", held)
        assert np.array_equal(np.concatenate(list(draws(40, seed=0, resamples=101))), whole)


def test_an_interval_leaves_out_what_is_no_number() -> None:
    assert interval(np.array([math.nan, *range(101)])) == pytest.approx((2.5, 97.5))
    assert as_entry(3.0, np.array([1.0, math.nan])) == {"value": 3.0, "low": 1.0, "high": 1.0}
    assert as_entry(math.nan, np.array([])) == {"value": None, "low": None, "high": None}
