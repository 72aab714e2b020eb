import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from avss_core.scores.ranking import authors_choice, cumulate, normalise, rank, rank_agreement

SCORE_LISTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=30)


@given(SCORE_LISTS)
def test_normalised_scores_sum_to_one_in_the_same_order(values: list[float]) -> None:
    scores = torch.tensor(values, dtype=torch.float64)
    shares = normalise(scores)
    assert float(shares.sum()) == pytest.approx(1)
    assert (shares >= 0).all()
    order = torch.tensor(rank(scores))
    assert (shares[order].diff() >= 0).all()


@given(SCORE_LISTS)
def test_cumulated_scores_rise_in_rank_order_and_end_at_one(values: list[float]) -> None:
    scores = torch.tensor(values, dtype=torch.float64)
    running = cumulate(scores)[torch.tensor(rank(scores))]
    assert (running.diff() >= 0).all()
    assert float(running[-1]) == pytest.approx(1)
    assert float(running[0]) == pytest.approx(float(normalise(scores).min()))


def test_scores_that_are_all_zero_share_equally() -> None:
    zeros = torch.zeros(4, dtype=torch.float64)
    assert normalise(zeros).tolist() == [0.25] * 4
    assert cumulate(zeros).tolist() == [0.25, 0.5, 0.75, 1]


def test_equal_scores_stay_in_depth_order() -> None:
    assert rank(torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])) == [1, 3, 0, 2, 4]
    assert rank(torch.tensor([])) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_names_its_layer(bad: float) -> None:
    with pytest.raises(ValueError, match=f"layer 1 has the score {bad}"):
        rank(torch.tensor([0.5, bad, 0.1]))


def test_rank_agreement_of_known_orders() -> None:
    def scores(*values: float) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    found = rank_agreement(
        {"up": scores(1, 2, 3, 4), "swapped": scores(1, 2, 4, 3), "flat": scores(1, 1, 1, 1)}
    )
    # One of six pairs is swapped: (5 - 1) / 6.
    assert found["up"] == {
        "up": pytest.approx(1),
        "swapped": pytest.approx(4 / 6),
        "flat": None,
        "depth": pytest.approx(1),
    }
    assert found["swapped"]["up"] == pytest.approx(4 / 6)
    assert found["depth"]["flat"] is None
    assert rank_agreement({"down": scores(4, 3, 2, 1)})["down"]["depth"] == pytest.approx(-1)
    assert rank_agreement({}) == {}


@given(SCORE_LISTS)
def test_the_sum_in_layer_order_is_the_running_sum_of_the_shares(values: list[float]) -> None:
    scores = torch.tensor(values, dtype=torch.float64)
    assert cumulate(scores, "depth").tolist() == normalise(scores).cumsum(0).tolist()


def test_the_authors_rule_removes_the_first_layers_whatever_their_rank() -> None:
    scores = torch.tensor([20.0, 5.0, 15.0, 60.0], dtype=torch.float64)
    assert cumulate(scores, "depth").tolist() == pytest.approx([0.2, 0.25, 0.4, 1.0])
    assert authors_choice(scores, 0.25) == [0, 1]
    assert authors_choice(scores, 0.1) == []
