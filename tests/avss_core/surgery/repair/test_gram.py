"""Second moments and ridge regression, against scikit-learn and by hand."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as Reference
from torch import Tensor

from avss_core.surgery.repair import gram as module
from avss_core.surgery.repair.gram import Gram, best_ridge, solve


def normal(*shape: int, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def gram_of(inputs: Tensor, targets: Tensor) -> Gram:
    gram = Gram(inputs.shape[1], targets.shape[1])
    gram.add(inputs, targets)
    return gram


def test_ridge_by_hand() -> None:
    # n = 2, sum h^2 = 4, sum h r = 6, mean square 2: W = 6 / (4 + 0.5 * 2 * 2).
    gram = gram_of(torch.tensor([[2.0], [0.0]]), torch.tensor([[3.0], [1.0]]))
    assert solve(gram, 0.5).weight.item() == pytest.approx(1.0)
    assert solve(gram, 0.5).bias is None


@pytest.mark.parametrize("intercept", [False, True])
def test_ridge_equals_scikit_learn(intercept: bool) -> None:
    inputs, targets = normal(50, 7, shift=3.0), normal(50, 4, seed=1, shift=-2.0)
    around = inputs - inputs.mean(0) if intercept else inputs
    penalty = 0.3 * float(around.square().sum()) / 7
    reference = Reference(alpha=penalty, fit_intercept=intercept).fit(inputs.numpy(), targets.numpy())
    found = solve(gram_of(inputs, targets), 0.3, intercept=intercept)
    np.testing.assert_allclose(found.weight.T.numpy(), reference.coef_, atol=1e-10)
    if found.bias is not None:
        np.testing.assert_allclose(found.bias.numpy(), reference.intercept_, atol=1e-10)


@given(st.lists(st.integers(1, 4), min_size=3, max_size=9), st.booleans())
def test_a_row_of_weight_n_counts_as_n_rows(counts: list[int], intercept: bool) -> None:
    inputs, targets, often = normal(len(counts), 3, shift=1.0), normal(len(counts), 2), torch.tensor(counts)
    weighted = Gram(3, 2)
    weighted.add(inputs, targets, often.double())
    repeated = gram_of(inputs.repeat_interleave(often, 0), targets.repeat_interleave(often, 0))
    assert weighted.count == repeated.count
    found, expected = (solve(gram, 0.2, intercept=intercept).weight for gram in (weighted, repeated))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-10)
    assert weighted.square == pytest.approx(repeated.square)


def held_out_error(parts: list[tuple[Tensor, Tensor]], ridge: float, intercept: bool) -> float:
    """Return the error on the second part of a solution on the first one."""
    (inputs, targets), (others, wanted) = parts
    found = solve(gram_of(inputs, targets), ridge, intercept=intercept)
    missed = others @ found.weight + (0 if found.bias is None else found.bias) - wanted
    return float(missed.square().sum() / wanted.square().sum())


@pytest.mark.parametrize("intercept", [False, True])
@settings(max_examples=30)
@given(seed=st.integers(0, 1000), noise=st.floats(0.0, 30.0), rows=st.integers(4, 40))
def test_the_best_ridge_has_the_least_error_on_held_out_rows(
    intercept: bool, seed: int, noise: float, rows: int
) -> None:
    inputs = normal(rows + 30, 6, seed=seed, shift=0.5)
    truth = normal(6, 3, seed=seed + 1)
    targets = inputs @ truth + noise * normal(rows + 30, 3, seed=seed + 2)
    parts = [(inputs[:rows], targets[:rows]), (inputs[rows:], targets[rows:])]
    ridges = [10 ** (exponent / 4) for exponent in range(-32, 1)]
    errors = [held_out_error(parts, ridge, intercept) for ridge in ridges]
    ridge, error = best_ridge(*(gram_of(*part) for part in parts), ridges, intercept=intercept)
    assert ridge is not None
    assert error == pytest.approx(held_out_error(parts, ridge, intercept), rel=1e-6, abs=1e-9)
    # Of a curve with one turn the search finds the least; of any, one that no neighbour is better than.
    place = ridges.index(ridge)
    beside = errors[max(0, place - 1) : place + 2]
    assert error <= min(beside) * (1 + 1e-6) + 1e-9
    turns = sum(b < min(a, c) for a, b, c in zip(errors, errors[1:], errors[2:], strict=False))
    if turns <= 1 and errors[0] != min(errors):
        assert error <= min(errors) * (1 + 1e-6) + 1e-9


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 17])
def test_any_number_of_ridges_is_searched_through(count: int) -> None:
    parts = [(normal(20, 4, seed=s), normal(20, 2, seed=s + 5)) for s in (0, 1)]
    ridges = [10.0**power for power in range(-count + 1, 1)]
    ridge, error = best_ridge(*(gram_of(*part) for part in parts), ridges)
    assert error == pytest.approx(min(held_out_error(parts, each, False) for each in ridges))
    assert ridge in ridges


def test_few_of_many_ridges_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    real = torch.linalg.cholesky
    monkeypatch.setattr(torch.linalg, "cholesky", lambda matrix: tried.append(1) or real(matrix))
    parts = [gram_of(normal(20, 4, seed=s), normal(20, 2, seed=s + 5)) for s in (0, 1)]
    best_ridge(*parts, [10 ** (exponent / 4) for exponent in range(-32, 1)])
    assert len(tried) <= 11


def test_nothing_to_explain_is_no_ridge_and_an_error_of_one() -> None:
    # 1 means no better than no change, so that nothing is changed.
    held = gram_of(normal(9, 2), torch.zeros(9, 1))
    assert best_ridge(gram_of(normal(9, 2), normal(9, 1)), held, [0.1, 1.0]) == (None, 1.0)


@given(st.lists(st.integers(0, 20), max_size=4), st.randoms(use_true_random=False))
def test_split_and_order_do_not_matter(cuts: list[int], random: object) -> None:
    inputs, targets = normal(20, 3, shift=100.0), normal(20, 2, seed=1)
    whole = gram_of(inputs, targets)
    ends = [0, *sorted(cuts), 20]
    parts = [gram_of(inputs[a:b], targets[a:b]) for a, b in pairwise(ends)]
    random.shuffle(parts)  # type: ignore[attr-defined]
    merged = Gram(3, 2)
    for part in parts:
        merged.merge(part)
    assert merged.count == 20
    for name in ("mean_input", "mean_target", "inner", "cross"):
        torch.testing.assert_close(getattr(merged, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
    assert merged.square == pytest.approx(whole.square, rel=1e-9)


def test_far_from_zero_the_centred_sums_stay_exact() -> None:
    inputs = normal(1000, 2, shift=1e6)
    gram = gram_of(inputs[:500], inputs[:500])
    gram.add(inputs[500:], inputs[500:])
    torch.testing.assert_close(gram.inner / 999, torch.cov(inputs.T), rtol=1e-9, atol=1e-9)


def test_panels_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, targets = normal(30, 11), normal(30, 2, seed=1)
    whole = gram_of(inputs, targets)
    monkeypatch.setattr(module, "PANEL", 4)
    parts = gram_of(inputs[:7], targets[:7])
    parts.add(inputs[7:], targets[7:])
    torch.testing.assert_close(parts.inner, whole.inner)
    torch.testing.assert_close(parts.inner, parts.inner.T)


def test_empty_grams_and_false_ridges_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no token"):
        solve(Gram(2, 1), 1.0)
    with pytest.raises(ValueError, match=r"ridge 0\.0 "):
        solve(gram_of(normal(3, 2), normal(3, 1)), 0.0)
    with pytest.raises(ValueError, match="ridge -1"):
        best_ridge(gram_of(normal(3, 2), normal(3, 1)), gram_of(normal(3, 2), normal(3, 1)), [-1.0])
