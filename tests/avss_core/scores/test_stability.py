import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student

from avss_core.scores.evidence import Evidence
from avss_core.scores.stability import LEAST_PARTS, NOISE, Stability, beginnings, draws, resampled, stability


def sure(removed: list[int], choices: list[list[int]], layers: int) -> Stability:
    """Return the stability where resamples make these choices: what goes scores 0, what stays 1."""
    scores = [torch.tensor([float(layer not in choice) for layer in range(layers)]) for choice in choices]
    return stability(removed, scores, lambda each: [layer for layer, one in enumerate(each) if not one])


def test_frequencies_of_known_choices() -> None:
    known = sure([1, 2], [[1, 2], [1, 2], [1, 3], [2, 1]], 5)
    assert known.frequency == (0, 1, 0.75, 0.25, 0)
    assert known.same == 0.75
    assert known.undecided == (2, 3)


def test_a_choice_that_every_resample_makes_is_decided() -> None:
    known = sure([0], [[0]] * 10, 3)
    assert (known.frequency, known.same, known.undecided) == ((1, 0, 0), 1, ())


def test_one_resample_in_twenty_is_no_doubt_and_two_are() -> None:
    assert NOISE == 0.05
    assert sure([0], [[1]] + [[0]] * 19, 2).undecided == ()
    assert sure([0], [[1]] * 2 + [[0]] * 18, 2).undecided == (0, 1)


@given(st.integers(LEAST_PARTS, 12), st.integers(1, 30), st.integers(0, 99))
def test_draws_take_as_many_parts_as_there_are_and_repeat_with_the_seed(
    parts: int, resamples: int, seed: int
) -> None:
    drawn = draws(parts, resamples, seed)
    assert drawn == draws(parts, resamples, seed)
    assert [len(draw) for draw in drawn] == [parts] * resamples
    assert {index for draw in drawn for index in draw} <= set(range(parts))


@given(st.lists(st.sets(st.integers(0, 5), min_size=2, max_size=2), min_size=1, max_size=20))
def test_frequencies_add_up_to_the_number_of_layers_removed(choices: list[set[int]]) -> None:
    known = sure([0, 1], [sorted(choice) for choice in choices], 6)
    assert sum(known.frequency) == pytest.approx(2)


def test_the_least_parts_show_half_of_the_noise() -> None:
    """What resamples of n parts spread, over what Student's t asks for."""

    def shown(parts: int) -> float:
        spread = norm.ppf(0.975) * ((parts - 1) / parts) ** 0.5
        return float(spread / student.ppf(0.975, parts - 1))

    assert [round(shown(parts), 2) for parts in (2, 3, 4, 8)] == [0.11, 0.37, 0.53, 0.78]
    assert shown(LEAST_PARTS - 1) < 0.5 <= shown(LEAST_PARTS)


@pytest.mark.parametrize(("parts", "said"), [(0, "0 windows"), (1, "1 window or part,"), (3, "3 windows")])
def test_too_few_parts_are_never_certain(parts: int, said: str) -> None:
    with pytest.raises(ValueError, match=f"too little text to say how sure the choice is: {said}"):
        draws(parts, 5, 0)


def test_nothing_to_resample_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no resample was made; set score\.resamples"):
        sure([0], [], 2)


def test_an_interval_holds_the_middle_of_the_resamples() -> None:
    """Of 0, 1, ..., 40 the 2.5th percentile is 1 and the 97.5th 39; the second layer runs backwards."""
    scores = [torch.tensor([float(i), 40.0 - i]) for i in range(41)]
    assert stability([0], scores, lambda _: [0]).interval == {"low": [1, 1], "high": [39, 39]}


def test_a_resample_has_the_mean_loss_of_the_windows_drawn() -> None:
    windows = [Evidence(2, losses={0: float(i), 1: 2.0 * i}) for i in range(4)]
    expected = [sum(draw) / 4 for draw in draws(4, 10, 1)]
    assert [each.losses for each in resampled(windows, 10, 1)] == [{0: m, 1: 2 * m} for m in expected]
    assert [each.losses for each in beginnings(windows)] == [{0: 0.0, 1: 0.0}, {0: 0.5, 1: 1.0}]
