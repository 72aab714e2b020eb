"""How many layers go, and which."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avss_core.scores.choice import choose_layers, count_to_remove


def scored(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("layers", "ratio", "count"),
    [(12, 0.25, 3), (6, 0.25, 1), (2, 0.25, 1), (30, 0.25, 7), (10, 0.3, 3), (100, 0.29, 29), (2, 0.99, 1),
     (8, 0.999, 7), (7, 1e-9, 1)],
)  # fmt: skip
def test_known_counts(layers: int, ratio: float, count: int) -> None:
    assert count_to_remove(layers, ratio) == count


@given(st.integers(2, 200), st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_counts_are_rounded_down_at_least_one_and_never_all(layers: int, ratio: float) -> None:
    count = count_to_remove(layers, ratio)
    assert 1 <= count < layers
    assert count in {1, layers - 1} or layers * ratio - 1 < count <= layers * ratio + 1e-6


@pytest.mark.parametrize("layers", [0, 1])
def test_a_model_of_one_layer_cannot_lose_one(layers: int) -> None:
    with pytest.raises(ValueError, match=f"the model has {layers} layer; .* at least 2"):
        count_to_remove(layers, 0.25)


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 25.0, math.nan])
def test_a_ratio_out_of_range_is_named(ratio: float) -> None:
    with pytest.raises(ValueError, match=f"ratio {ratio} does not lie between 0 and 1"):
        count_to_remove(12, ratio)


def test_the_lowest_go_and_ties_go_by_index() -> None:
    assert choose_layers(scored([3.0, 1.0, 2.0, 1.0, 9.0, 1.0, 0.5, 8.0]), 0.25) == [1, 6]
    assert choose_layers(scored([7.0] * 8), 0.5) == [0, 1, 2, 3]


def test_protected_layers_stay() -> None:
    scores = scored([0.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    assert choose_layers(scores, 0.5, protect_first=1, protect_last=2) == [1, 2, 3]
    with pytest.raises(
        ValueError, match="cannot remove 3 of 6 layers: only 2 are left when the first 1 and the last 3 are"
    ):
        choose_layers(scores, 0.5, protect_first=1, protect_last=3)
