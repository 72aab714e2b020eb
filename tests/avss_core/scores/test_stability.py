import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.scores.stability import NOISE, draws, score_interval, stability


def test_frequencies_of_known_choices() -> None:
    found = stability([1, 2], [[1, 2], [1, 2], [1, 3], [2, 1]], 5)
    assert found.frequency == (0, 1, 0.75, 0.25, 0)
    assert found.same == 0.75
    assert found.undecided == (2, 3)


def test_a_choice_that_every_resample_makes_is_decided() -> None:
    found = stability([0], [[0]] * 10, 3)
    assert (found.frequency, found.same, found.undecided) == ((1, 0, 0), 1, ())


def test_one_resample_in_twenty_is_no_doubt_and_two_are() -> None:
    assert NOISE == 0.05
    assert stability([0], [[1]] + [[0]] * 19, 2).undecided == ()
    assert stability([0], [[1]] * 2 + [[0]] * 18, 2).undecided == (0, 1)


@given(st.integers(1, 12), st.integers(1, 30), st.integers(0, 99))
def test_draws_take_as_many_parts_as_there_are_and_repeat_with_the_seed(
    parts: int, resamples: int, seed: int
) -> None:
    found = draws(parts, resamples, seed)
    assert found == draws(parts, resamples, seed)
    assert [len(draw) for draw in found] == [parts] * resamples
    assert {index for draw in found for index in draw} <= set(range(parts))


@given(st.lists(st.sets(st.integers(0, 5), min_size=2, max_size=2), min_size=1, max_size=20))
def test_frequencies_add_up_to_the_number_of_layers_removed(choices: list[set[int]]) -> None:
    found = stability([0, 1], [sorted(choice) for choice in choices], 6)
    assert sum(found.frequency) == pytest.approx(2)


def test_nothing_to_resample_is_refused() -> None:
    with pytest.raises(ValueError, match="a text in 0 parts"):
        draws(0, 5, 0)
    with pytest.raises(ValueError, match="no resample was made"):
        stability([0], [], 2)


def test_an_interval_holds_the_middle_of_the_resamples() -> None:
    """Of 0, 1, ..., 40 the 2.5th percentile is 1 and the 97.5th 39; the second layer runs backwards."""
    found = score_interval([[float(i), 40.0 - i] for i in range(41)])
    assert found == {"low": [1, 1], "high": [39, 39]}


def test_an_interval_needs_a_resample() -> None:
    with pytest.raises(ValueError, match=r"score\.resamples"):
        score_interval([])
