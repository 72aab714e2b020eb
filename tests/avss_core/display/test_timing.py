"""How far a step is, and the time that is left of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.display.timing import Step, duration_text


class Watch:
    """A step that starts at 0, and the time left when asked at a given second."""

    def __init__(self, total, sizes=()):
        self.now = 0.0
        self.step = Step("loss", total, "windows", sizes, clock=lambda: self.now)

    def advance(self, done, now):
        self.now = now
        self.step.advance(done)

    def left(self, now):
        self.now = now
        return self.step.left


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (1.5, "1.5 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3900, "1 h 5 min"),
    ],
)
def test_times_in_words(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_nothing_is_said_before_a_unit_is_done():
    assert Watch(8).left(60.0) == 0.0


def test_the_time_falls_while_nothing_finishes_and_never_under_zero():
    watch = Watch(4)
    watch.advance(1, 10.0)
    assert [watch.left(now) for now in (10.0, 25.0, 39.0, 41.0, 400.0)] == [30.0, 15.0, 1.0, 0.0, 0.0]


def test_units_of_other_sizes_count_by_their_work():
    watch = Watch(4, [8, 8, 1, 1])
    watch.advance(2, 32.0)
    assert watch.left(32.0) == 4.0
    watch.advance(2, 36.0)
    assert watch.left(36.0) == 0.0


def test_units_of_no_work_say_nothing():
    watch = Watch(2, [0, 0])
    watch.advance(1, 5.0)
    assert watch.left(5.0) == 0.0


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 100)), max_size=20), st.integers(1, 10))
def test_it_grows_only_when_something_finishes(events, total):
    watch, now = Watch(total), 0.0
    for done, passed in events:
        before = watch.left(now)
        now += passed
        assert 0 <= watch.left(now) <= before
        watch.advance(done, now)
