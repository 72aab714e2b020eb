import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.scores.drift import Scored, drift

SCORES = st.lists(st.floats(0.01, 100), min_size=2, max_size=8)
BEFORE = Scored([4.0, 1.0, 3.0, 2.0], [1], {"low": [3.5, 0.8, 2.9, 1.6], "high": [4.5, 1.2, 3.1, 2.4]}, [3])


def test_a_case_by_hand():
    """Layer 2 leaves its interval; layers 1 and 3 change places, and the record was unsure of layer 3."""
    found = drift(BEFORE, Scored([4.4, 1.2, 3.3, 1.6], [3]))
    assert found.outside == (2,)
    assert (found.joined, found.left, found.decided) == ((3,), (1,), (1,))
    # The order is the same: 1 < 3 < 2 < 0.
    assert found.agreement == pytest.approx(1)
    assert found.largest == pytest.approx(0.2)
    assert found.drifted


def test_a_change_within_the_intervals_and_the_noise_is_no_drift():
    found = drift(BEFORE, Scored([3.6, 1.1, 3.0, 1.7], [1]))
    assert (found.outside, found.decided, found.drifted) == ((), (), False)
    swapped = drift(
        Scored([1.0, 2.0], [0], {"low": [0.0, 0.0], "high": [3.0, 3.0]}, [0, 1]), Scored([2.0, 1.0], [1])
    )
    assert (swapped.joined, swapped.left, swapped.drifted) == ((1,), (0,), False)
    assert swapped.agreement == pytest.approx(-1)


def test_a_choice_that_changed_beyond_the_noise_is_a_drift_though_every_score_is_inside():
    found = drift(Scored([1.0, 2.0], [0], {"low": [0.0, 0.0], "high": [3.0, 3.0]}), Scored([2.0, 1.0], [1]))
    assert (found.outside, found.decided, found.drifted) == ((), (0, 1), True)


def test_without_resamples_only_rounding_is_forgiven():
    before = Scored([1.0, 2.0], [0])
    assert not drift(before, Scored([1.0 + 1e-7, 2.0], [0])).drifted
    assert drift(before, Scored([1.0 + 1e-5, 2.0], [0])).outside == (0,)


def test_an_interval_that_misses_its_own_score_is_widened_to_hold_it():
    before = Scored([1.0, 2.0], [], {"low": [1.5, 1.5], "high": [2.5, 2.5]})
    assert not drift(before, Scored([1.0, 2.0], [])).drifted


def test_a_score_that_was_zero_has_no_share_to_change_by():
    assert drift(Scored([0.0, 1.0], [0]), Scored([0.5, 1.0], [0])).largest == math.inf


def test_another_number_of_layers_is_another_model():
    with pytest.raises(ValueError, match="scores of 1 layers cannot be compared with those of 4"):
        drift(BEFORE, Scored([1.0], []))


@given(SCORES, st.data())
def test_the_same_scores_never_drift(scores, data):
    low, high = (
        data.draw(st.lists(st.floats(0, 200), min_size=len(scores), max_size=len(scores))) for _ in "lh"
    )
    found = drift(Scored(scores, [0], {"low": low, "high": high}), Scored(scores, [0]))
    assert not found.drifted
    assert found.largest == 0


@given(SCORES, st.floats(1.01, 10), st.data())
def test_exactly_the_layers_that_moved_are_named_whatever_the_unit(scores, unit, data):
    moved = data.draw(st.sets(st.integers(0, len(scores) - 1)))
    after = [score * 1.5 if layer in moved else score for layer, score in enumerate(scores)]
    found = drift(
        Scored([unit * score for score in scores], []), Scored([unit * score for score in after], [])
    )
    assert found.outside == tuple(sorted(moved))
    assert found.drifted == bool(moved)
