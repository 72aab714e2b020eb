import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.metrics.agreement import apart, overlap, plain_difference

LAYERS = st.sets(st.integers(0, 9))


def figure(value, low, high):
    return {"value": value, "low": low, "high": high}


def test_what_two_choices_share():
    found = overlap([3, 12, 13], [13, 3, 5, 7])
    assert (found.shared, found.only_first, found.only_second) == ([3, 13], [12], [5, 7])
    assert found.jaccard == 2 / 5
    assert overlap([], []).jaccard is None


@given(LAYERS, LAYERS)
def test_swapped_choices_swap_what_only_one_holds(first, second):
    found, swapped = overlap(first, second), overlap(second, first)
    assert (found.only_first, found.only_second) == (swapped.only_second, swapped.only_first)
    assert found.jaccard == swapped.jaccard
    assert (found.jaccard == 1) == (first == second != set())


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [((0.1, 0.2), (0.3, 0.4), True), ((0.1, 0.3), (0.3, 0.4), False), ((0.1, None), (0.3, 0.4), False)],
)
def test_intervals_are_apart_only_where_they_do_not_touch(first, second, expected):
    sides = [figure(0.0, *first), figure(0.0, *second)]
    assert apart(*sides) is apart(*reversed(sides)) is expected


def test_a_difference_without_an_interval():
    assert plain_difference(figure(0.25, 0, 1), figure(0.75, 0, 1)) == figure(0.5, None, None)
    assert plain_difference(figure(None, None, None), figure(0.75, 0, 1))["value"] is None
