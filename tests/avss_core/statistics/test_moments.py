import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch import Tensor

from avss_core.statistics.moments import Moments, root_mean_square


def same(left: Moments, right: Moments) -> None:
    assert left.count == right.count
    torch.testing.assert_close(left.mean, right.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(left.centred, right.centred, rtol=1e-10, atol=1e-10)


@st.composite
def split_rows(draw: st.DrawFn) -> tuple[Tensor, list[Tensor]]:
    count, features = draw(st.integers(2, 60)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    offset, scale = draw(st.floats(-1e3, 1e3)), draw(st.floats(1e-3, 1e3))
    rows = offset + scale * torch.randn(count, features, generator=generator, dtype=torch.float64)
    cuts = sorted(draw(st.lists(st.integers(0, count), max_size=5)))  # repeated cuts make empty parts
    return rows, list(torch.tensor_split(rows, cuts))


@given(split_rows())
def test_any_split_merged_from_either_end_gives_the_library_variance(
    case: tuple[Tensor, list[Tensor]],
) -> None:
    rows, parts = case
    moments = [Moments.of(part) for part in parts]
    left, right = Moments.empty(rows.shape[1]), Moments.empty(rows.shape[1])
    for part in moments:
        left = left.merge(part)
    for part in reversed(moments):
        right = part.merge(right)
    for merged in (left, right):
        assert merged.count == len(rows)
        torch.testing.assert_close(merged.mean, rows.mean(0), rtol=1e-9, atol=1e-9)
        for ddof in (0, 1):
            torch.testing.assert_close(
                merged.variance(ddof), rows.var(0, correction=ddof), rtol=1e-8, atol=1e-12
            )


@given(split_rows())
def test_merging_commutes(case: tuple[Tensor, list[Tensor]]) -> None:
    parts = [Moments.of(part) for part in case[1]]
    same(parts[0].merge(parts[-1]), parts[-1].merge(parts[0]))


@given(split_rows(), st.floats(-50, 50).filter(lambda c: abs(c) > 1e-3))
def test_scaling_the_rows_scales_the_variance_by_the_square(
    case: tuple[Tensor, list[Tensor]], factor: float
) -> None:
    rows, _ = case
    expected = Moments.of(rows).variance() * factor**2
    torch.testing.assert_close(Moments.of(rows * factor).variance(), expected, rtol=1e-8, atol=1e-12)


def test_hand_computed_case() -> None:
    moments = Moments.of(torch.tensor([[1.0, 0.0], [2.0, 0.0], [6.0, 3.0]]))
    assert moments.count == 3
    assert moments.mean.tolist() == [3.0, 1.0]
    assert moments.variance().tolist() == [14 / 3, 2.0]
    assert moments.variance(ddof=1).tolist() == [7.0, 3.0]
    assert moments.standard_error().tolist() == pytest.approx([math.sqrt(7 / 3), 1.0])


def test_a_mean_far_from_zero_keeps_twelve_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = 300 + 0.1 * torch.randn(819_200, 1, generator=generator)
    expected = rows.double().var(0, correction=0)
    naive = rows.square().mean(0) - rows.mean(0).square()
    assert abs(naive / expected - 1) > 0.1, "the case must be one that the naive formula gets wrong"
    merged = Moments.empty()
    for part in rows.split(4096):
        merged = merged.merge(Moments.of(part))
    torch.testing.assert_close(merged.variance(), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rows_are_upcast_before_the_first_sum(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    rows = (100 + 3 * torch.randn(5000, 2, generator=generator)).to(dtype)
    moments = Moments.of(rows)
    assert moments.mean.dtype == moments.centred.dtype == torch.float64
    torch.testing.assert_close(moments.variance(), rows.double().var(0, correction=0), rtol=1e-12, atol=0)


def test_parts_of_unequal_size_are_merged_by_count_and_not_averaged() -> None:
    merged = Moments.of(torch.zeros(3, 1)).merge(Moments.of(torch.tensor([[100.0]])))
    assert merged.mean.tolist() == [25.0]
    assert merged.variance().tolist() == [1875.0]


@pytest.mark.parametrize("rows", [torch.zeros(0, 3), torch.tensor([[1.0, -2.0, 3.0]]), torch.rand(5, 3)])
def test_empty_is_the_identity(rows: Tensor) -> None:
    moments, empty = Moments.of(rows), Moments.empty(3)
    for merged in (moments.merge(empty), empty.merge(moments)):
        assert merged.record() == moments.record()


def test_a_single_row_has_no_spread() -> None:
    moments = Moments.of(torch.tensor([[7.0]]))
    assert moments.variance().tolist() == [0.0]
    with pytest.raises(ValueError, match="ddof=1 needs more than 1 rows, got 1"):
        moments.standard_error()


@pytest.mark.parametrize(("rows", "ddof"), [(0, 0), (0, 1), (1, 1), (2, 2)])
def test_too_few_rows_are_refused_with_their_number(rows: int, ddof: int) -> None:
    with pytest.raises(ValueError, match=f"ddof={ddof} needs more than {ddof} rows, got {rows}"):
        Moments.of(torch.zeros(rows, 1)).variance(ddof)


@given(split_rows())
def test_the_record_restores_the_state_to_the_bit(case: tuple[Tensor, list[Tensor]]) -> None:
    moments = Moments.of(case[0])
    back = Moments.from_record(json.loads(json.dumps(moments.record())))
    assert back.count == moments.count
    assert torch.equal(back.mean, moments.mean)
    assert torch.equal(back.centred, moments.centred)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_bad_value_makes_the_moments_not_finite(bad: float) -> None:
    rows = torch.zeros(4, 2)
    assert Moments.of(rows).is_finite()
    rows[2, 1] = bad
    assert not Moments.of(rows).is_finite()
    assert not Moments.empty(2).merge(Moments.of(rows)).is_finite()


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(TypeCheckError, match="features"):
        Moments(2, torch.zeros(3, dtype=torch.float64), torch.zeros(4, dtype=torch.float64))


def test_root_mean_square_of_three_four() -> None:
    assert root_mean_square(Moments.of(torch.tensor([[3.0], [4.0]]))) == pytest.approx(math.sqrt(12.5))
    assert root_mean_square(Moments.of(torch.tensor([[0.0]]))) == 0
