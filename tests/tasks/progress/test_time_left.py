"""The time that is left of a step."""

from hypothesis import given
from hypothesis import strategies as st

from tasks.progress.time_left import Remaining


def test_nothing_is_said_before_a_unit_is_done():
    assert Remaining(8, 100.0).seconds(160.0) == 0.0


def test_the_time_falls_while_nothing_finishes_and_never_under_zero():
    left = Remaining(4, 100.0)
    left.advance(1, 110.0)
    assert [left.seconds(now) for now in (110.0, 125.0, 139.0, 141.0, 500.0)] == [30.0, 15.0, 1.0, 0.0, 0.0]


def test_units_of_other_sizes_count_by_their_work():
    left = Remaining(4, 0.0, [8, 8, 1, 1])
    left.advance(2, 32.0)
    assert left.seconds(32.0) == 4.0
    left.advance(2, 36.0)
    assert left.seconds(36.0) == 0.0


def test_units_of_no_work_say_nothing():
    left = Remaining(2, 0.0, [0, 0])
    left.advance(1, 5.0)
    assert left.seconds(5.0) == 0.0


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 100)), max_size=20), st.integers(1, 10))
def test_it_grows_only_when_something_finishes(events, total):
    left, now = Remaining(total, 0.0), 0.0
    for done, passed in events:
        before = left.seconds(now)
        now += passed
        assert 0 <= left.seconds(now) <= before
        left.advance(done, now)
