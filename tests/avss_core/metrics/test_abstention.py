"""A threshold for a wanted error, and what it leaves of other answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.metrics.abstention import abstaining, threshold_for
from avss_core.metrics.bootstrap import bootstrap_interval

ANSWERS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), st.integers(0, 1)), max_size=30
)


def error_from(rows, least):
    """Return how many answers are as confident as that, and the share of them that is wrong."""
    taken = [right for sure, right in rows if sure >= least]
    return len(taken), 1 - sum(taken) / len(taken)


@given(ANSWERS, st.floats(0, 1))
def test_the_threshold_answers_most_at_the_wanted_error(rows, risk):
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], []]
    threshold = threshold_for(*columns, risk)
    allowed = [sure for sure, _ in rows if error_from(rows, sure)[1] <= risk]
    assert threshold == (min(allowed) if allowed else None)


@given(ANSWERS.filter(bool), st.sampled_from([None, 0.0, 0.3, 0.95]))
def test_what_is_left_is_counted(rows, threshold):
    columns = [list(column) for column in zip(*rows, strict=True)]
    left = abstaining(*columns, threshold, seed=0)
    taken = [] if threshold is None else [right for sure, right in rows if sure >= threshold]
    assert left["answered"]["value"] == pytest.approx(len(taken) / len(rows))
    if taken:
        assert left["error"]["value"] == pytest.approx(1 - sum(taken) / len(taken))
        assert left["error"]["low"] <= left["error"]["high"]
    else:
        assert left["error"] == {"value": None, "low": None, "high": None}


def test_the_intervals_are_those_of_the_bootstrap():
    generator = np.random.default_rng(0)
    sure, right = generator.random(80), generator.integers(0, 2, 80)
    left = abstaining(sure, right, 0.4, seed=3)
    for name, statistic in {
        "answered": lambda sure, right: float((sure >= 0.4).mean()),
        "error": lambda sure, right: float(1 - right[sure >= 0.4].mean()),
    }.items():
        low, high = bootstrap_interval(statistic, sure, right, seed=3)
        assert (left[name]["low"], left[name]["high"]) == pytest.approx((low, high))


def test_no_answer_and_a_risk_that_is_none():
    assert threshold_for([], [], 0.5) is None
    assert abstaining([], [], 0.5, seed=0)["answered"]["low"] is None
    with pytest.raises(ValueError, match="risk is 1"):
        threshold_for([0.5], [1], 1.5)
