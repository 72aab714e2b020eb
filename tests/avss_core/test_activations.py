import copy
import json
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, PreTrainedModel

from avss_core.activations import (
    LEAST_CONTRIBUTION,
    SITES,
    TOKEN_FIGURES,
    SiteStatistics,
    Statistics,
    collect_statistics,
    observed,
)
from avss_core.architectures import blocks
from avss_core.batches import Batch, pad, windows

LENGTHS = (23, 2, 9, 17, 5, 30, 12, 8)
SETTINGS: dict[str, Any] = {"sites": SITES, "absolute": [0.05, 0.5], "relative": [0.1]}


class Double(nn.Module):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return 2 * hidden_states


class QuarterTurn(nn.Module):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return torch.stack([-hidden_states[..., 1], hidden_states[..., 0]], dim=-1)


class InTuple(nn.Module):
    """Returns what some families return: a tuple, with the hidden states first."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, None]:
        return self.block(hidden_states), None


class Stub(nn.Module):
    """Two known layers of width two, in the place where a Llama keeps its blocks."""

    def __init__(self, *layers: nn.Module, skip: Sequence[int] = (), keyword: bool = False) -> None:
        super().__init__()
        self.config = LlamaConfig(num_hidden_layers=len(layers))
        self.model = nn.Module()
        self.model.layers = nn.ModuleList(layers)
        self.table = nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 2.0], [900.0, -77.0]]))
        self.skip, self.keyword = skip, keyword

    def forward(self, input_ids: Tensor, **_: Any) -> Tensor:
        hidden = self.table[input_ids]
        for index, layer in enumerate(self.model.layers):
            if index not in self.skip:
                result = layer(hidden_states=hidden) if self.keyword else layer(hidden)
                hidden = result[0] if isinstance(result, tuple) else result
        return hidden


def sequences(seed: int = 0, lengths: Sequence[int] = LENGTHS) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 256, (length,), generator=generator).tolist() for length in lengths]


def batched(samples: list[list[int]], size: int, **options: Any) -> Iterator[Batch]:
    for start in range(0, len(samples), size):
        yield pad(samples[start : start + size], skip=1, first_sample=start, **options)


def collect(model: nn.Module, batches: Iterator[Batch] | list[Batch]) -> Statistics:
    return collect_statistics(model, batches, **SETTINGS)


def assert_same(found: Statistics, expected: Statistics, tolerance: float = 1e-9) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for site in one:
            a, b = one[site], other[site]
            assert (a.values.count, a.tokens.count) == (b.values.count, b.tokens.count)
            for mine, theirs in ((a.values, b.values), (a.tokens, b.tokens)):
                spread = theirs.variance().sqrt()
                # A mean near zero is known to rounding of the values that cancel in it, not of itself.
                assert ((mine.mean - theirs.mean).abs() <= tolerance * (theirs.mean.abs() + spread)).all()
                assert mine.variance().tolist() == pytest.approx(theirs.variance().tolist(), rel=tolerance)
            # A value within rounding of a threshold may change sides.
            assert a.below == pytest.approx(b.below, abs=1)
            assert a.below_relative == pytest.approx(b.below_relative, abs=1)


def records(statistics: Statistics) -> list[dict[str, Any]]:
    return [{site: found.record() for site, found in layer.items()} for layer in statistics]


def figures(statistics: SiteStatistics) -> list[float]:
    return [statistics.token_mean(figure) for figure in TOKEN_FIGURES]


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_statistics_of_two_known_layers() -> None:
    names = (
        "relative_variance",
        "log_contribution",
        "block_influence",
        "angular",
        "relative_magnitude",
        "l1",
        "l2",
    )
    assert names == TOKEN_FIGURES, "the lists of figures below stand in this order"
    batch = pad([[0, 1]])
    double, turn = collect_statistics(
        Stub(Double(), QuarterTurn()), [batch], sites=SITES, absolute=[2.5], relative=[0.5, 1.0]
    )
    # The first layer reads (3, 4) and (0, 2) and doubles them, so what it adds is what it reads.
    output, update = double["output"], double["update"]
    assert (output.values.count, output.tokens.count) == (4, 2)
    assert (output.values.mean.item(), output.values.variance().item()) == (4.5, 8.75)
    assert (update.values.mean.item(), update.values.variance().item()) == (2.25, 2.1875)
    assert (output.below, update.below) == ({2.5: 1}, {2.5: 2})
    # The RMS of what is read is 3.54 and 1.41; a half of it is above 0 alone, all of it above 3 too.
    assert update.below_relative == {0.5: 1, 1.0: 2}
    assert output.below_relative == {0.5: 1, 1.0: 1}
    # What is written is twice that: half of it is above (3) of the first token and 0 of the second.
    assert update.below_output == {0.5: 2, 1.0: 4}
    assert figures(update) == pytest.approx([1, math.log(0.25), 0, 0, 0.5, 4.5, 3.5], abs=1e-7)
    assert output.token_mean("relative_variance") == 4
    assert (output.token_mean("l1"), output.token_mean("l2")) == (9, 7)
    # The second reads (6, 8) and (0, 4) and gives (-8, 6) and (-4, 0): it adds (-14, -2) and (-4, -4).
    update = turn["update"]
    assert (update.values.mean.item(), update.values.variance().item()) == (-6, 22)
    lengths = math.sqrt(200), math.sqrt(32)
    assert figures(update) == pytest.approx(
        [
            18,
            (math.log(36 / 49) + math.log(LEAST_CONTRIBUTION)) / 2,
            1,
            0.5,
            math.sqrt(2),
            12,
            sum(lengths) / 2,
        ]
    )


@pytest.mark.parametrize("keyword", [False, True])
@pytest.mark.parametrize("in_tuple", [False, True])
def test_a_tuple_a_tensor_and_a_keyword_argument_give_the_same_numbers(in_tuple: bool, keyword: bool) -> None:
    batches = [pad([[0, 1, 1], [1, 0]], fill=2), pad([[1]])]
    plain = collect(Stub(Double(), QuarterTurn()), batches)
    layers = [InTuple(block) if in_tuple else block for block in (Double(), QuarterTurn())]
    assert records(collect(Stub(*layers, keyword=keyword), batches)) == records(plain)


@pytest.fixture(scope="module")
def exact_model(tiny_model: PreTrainedModel) -> PreTrainedModel:
    """A tiny model in float64, so that what is left of a difference is no rounding."""
    return copy.deepcopy(tiny_model).double()


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (8, {}),
        (3, {}),
        (8, {"left": True}),
        (1, {"left": True}),
        (5, {"fill": 99}),
        (5, {"fill": 99, "left": True}),
    ],
)
def test_batch_size_and_padding_do_not_count(
    exact_model: PreTrainedModel, size: int, options: dict[str, Any]
) -> None:
    samples = sequences()
    one_by_one = collect(exact_model, batched(samples, 1))
    assert one_by_one[0]["update"].tokens.count == sum(LENGTHS) - len(LENGTHS)
    assert_same(collect(exact_model, batched(samples, size, **options)), one_by_one)


def test_float32_models_differ_by_their_rounding_alone(tiny_model: PreTrainedModel) -> None:
    samples = sequences()
    assert_same(collect(tiny_model, batched(samples, 8)), collect(tiny_model, batched(samples, 1)), 1e-5)


def test_order_does_not_count(exact_model: PreTrainedModel) -> None:
    samples = sequences()
    assert_same(collect(exact_model, batched(samples[::-1], 3)), collect(exact_model, batched(samples, 3)))


def test_parts_collected_apart_merge_to_the_whole(exact_model: PreTrainedModel) -> None:
    samples = sequences()
    first, second = (collect(exact_model, batched(part, 2)) for part in (samples[:3], samples[3:]))
    merged = [
        {site: one[site].merge(two[site]) for site in one} for one, two in zip(first, second, strict=True)
    ]
    assert_same(merged, collect(exact_model, batched(samples, 8)))


def test_doubling_the_data_changes_counts_and_no_figure(tiny_model: PreTrainedModel) -> None:
    once = collect(tiny_model, batched(sequences(), 4))
    twice = collect(tiny_model, batched(sequences() * 2, 4))
    for one, two in zip(once, twice, strict=True):
        for site in SITES:
            assert two[site].values.count == 2 * one[site].values.count
            assert two[site].below_relative == {
                tau: 2 * count for tau, count in one[site].below_relative.items()
            }
            assert two[site].tokens.mean.tolist() == pytest.approx(one[site].tokens.mean.tolist())
            assert two[site].values.variance().tolist() == pytest.approx(one[site].values.variance().tolist())


def _without_final_norm(model: PreTrainedModel) -> PreTrainedModel:
    bare: Any = copy.deepcopy(model)
    if bare.config.model_type == "gpt2":
        bare.transformer.ln_f = nn.Identity()
    else:
        bare.model.norm = nn.Identity()
    return bare


def test_token_figures_equal_their_formulas_on_the_model_s_own_hidden_states(
    tiny_model: PreTrainedModel,
) -> None:
    samples = sequences(3, (12, 12, 12))
    with torch.no_grad():
        # The last hidden state is after the final norm, so that norm is taken out.
        states = _without_final_norm(tiny_model)(
            torch.tensor(samples), output_hidden_states=True
        ).hidden_states
    hidden = [state[:, 1:].reshape(-1, state.shape[-1]).double().numpy() for state in states]
    found = collect(tiny_model, batched(samples, 3))
    for layer, (x, y) in enumerate(pairwise(hidden)):
        cosine = np.sum(x * y, axis=1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))
        update = y - x
        expected = [
            np.mean(np.var(update, axis=1) / np.var(x, axis=1)),
            np.mean(np.log(np.var(update, axis=1) / np.var(y, axis=1))),
            np.mean(1 - cosine),
            np.mean(np.arccos(cosine) / np.pi),
            np.mean(np.linalg.norm(update, axis=1) / np.linalg.norm(y, axis=1)),
            np.mean(np.abs(update).sum(axis=1)),
            np.mean(np.linalg.norm(update, axis=1)),
        ]
        statistics = found[layer]["update"]
        assert figures(statistics) == pytest.approx(expected, rel=1e-5)
        assert statistics.values.variance().item() == pytest.approx(np.var(update), rel=1e-5)
        assert statistics.below[0.5] == pytest.approx(np.sum(np.abs(update) < 0.5), abs=1)
        rms = np.sqrt(np.mean(x**2, axis=1, keepdims=True))
        assert statistics.below_relative[0.1] == pytest.approx(np.sum(np.abs(update) < 0.1 * rms), abs=1)
        assert found[layer]["output"].values.variance().item() == pytest.approx(np.var(y), rel=1e-5)


def test_parallel_rows_give_an_angle_and_no_nan_where_the_cosine_rounds_past_one() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5000, 7, generator=generator, dtype=torch.float64)
    twice = 3.1 * rows
    cosine = (rows * twice).sum(1) / rows.norm(dim=1) / twice.norm(dim=1)
    assert (cosine > 1).any(), "the case must be one where rounding carries the cosine past 1"
    for after, angle in ((twice, 0.0), (-twice, 1.0)):
        statistics = SiteStatistics.of(after - rows, rows, after, [0.1], [0.1])
        assert statistics.tokens.is_finite()
        assert statistics.token_mean("angular") == pytest.approx(angle, abs=1e-7)


def test_zero_rows_have_finite_figures() -> None:
    zeros = torch.zeros(2, 4, dtype=torch.float64)
    statistics = SiteStatistics.of(zeros, zeros, zeros, [0.1], [0.1])
    assert statistics.tokens.is_finite()
    assert statistics.token_mean("relative_variance") == 0
    assert statistics.token_mean("log_contribution") == pytest.approx(math.log(LEAST_CONTRIBUTION))
    assert statistics.below == {0.1: 8}
    assert (statistics.below_relative, statistics.below_output) == ({0.1: 0}, {0.1: 0})


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_weight_names_its_layer(tiny_model: PreTrainedModel, bad: float) -> None:
    broken = copy.deepcopy(tiny_model)
    with torch.no_grad():
        next(blocks(broken)[2].parameters())[0] = bad
    with pytest.raises(
        ValueError, match=r"layer 2, site output: an activation of sample 0 is not a finite number"
    ):
        collect(broken, batched(sequences(), 4))
    assert hooks(broken) == 0


def test_a_bad_activation_names_its_sample(tiny_model: PreTrainedModel) -> None:
    broken: Any = copy.deepcopy(tiny_model)
    samples = [[token % 200 for token in sample] for sample in sequences()]
    samples[5][3] = 230
    with torch.no_grad():
        broken.get_input_embeddings().weight[230] = math.nan
    with pytest.raises(ValueError, match=r"layer 0, .* sample 5 is not"):
        collect(broken, batched(samples, 4))


def test_hooks_are_gone_after_use_after_an_error_and_without_a_forward_pass(
    tiny_model: PreTrainedModel,
) -> None:
    seen: list[int] = []

    def visit(index: int, before: Tensor, after: Tensor) -> None:
        seen.append(index)
        if len(seen) > 8:
            raise RuntimeError("stop in the second pass")

    ids = torch.tensor([[1, 2, 3]])
    before = hooks(tiny_model)
    with observed(tiny_model, visit):
        assert hooks(tiny_model) == before + 6
    assert hooks(tiny_model) == before
    with observed(tiny_model, visit):
        tiny_model(ids)
    assert seen == [0, 1, 2, 3, 4, 5]
    assert hooks(tiny_model) == before
    with pytest.raises(RuntimeError, match="second pass"), observed(tiny_model, visit):
        tiny_model(ids)
    assert hooks(tiny_model) == before
    tiny_model(ids)
    assert len(seen) == 9


def test_an_error_inside_a_block_leaves_no_hook(tiny_model: PreTrainedModel) -> None:
    broken = copy.deepcopy(tiny_model)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    blocks(broken)[3].forward = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        collect(broken, batched(sequences(), 4))
    assert hooks(broken) == 0


@pytest.mark.parametrize("batches", [[], [pad([[5], [6]], skip=1)]])
def test_nothing_counted_is_an_error_and_not_a_zero(
    tiny_model: PreTrainedModel, batches: list[Batch]
) -> None:
    with pytest.raises(ValueError, match="layer 0: no activation was counted"):
        collect(tiny_model, batches)


def test_a_block_that_is_never_called_is_an_error() -> None:
    with pytest.raises(ValueError, match="layer 1: no activation was counted"):
        collect(Stub(Double(), QuarterTurn(), skip=[1]), [pad([[0, 1]])])


def test_a_batch_without_counted_tokens_changes_nothing(tiny_model: PreTrainedModel) -> None:
    plain = list(batched(sequences(), 4))
    assert_same(
        collect(tiny_model, [plain[0], pad([[5]], skip=1), plain[1]]), collect(tiny_model, plain), 1e-9
    )


def test_memory_does_not_grow_with_the_samples(tiny_model: PreTrainedModel) -> None:
    for samples in (sequences(), sequences() * 3):
        for layer in collect(tiny_model, batched(samples, 4)):
            for statistics in layer.values():
                tensors = [statistics.values.mean, statistics.values.centred]
                tensors += [statistics.tokens.mean, statistics.tokens.centred]
                # The storage, since a view of one number would keep its whole batch alive.
                assert [tensor.untyped_storage().nbytes() for tensor in tensors] == [8, 8, 56, 56]
                assert not any(tensor.requires_grad for tensor in tensors)


def test_only_the_named_sites_are_collected(tiny_model: PreTrainedModel) -> None:
    found = collect_statistics(
        tiny_model, batched(sequences(), 4), sites=["update"], absolute=[], relative=[]
    )
    assert [list(layer) for layer in found] == [["update"]] * 6
    update = found[0]["update"]
    assert (update.below, update.below_relative, update.below_output) == ({}, {}, {})


def test_the_record_restores_the_statistics_to_the_bit(tiny_model: PreTrainedModel) -> None:
    for layer in collect(tiny_model, batched(sequences(), 4)):
        for statistics in layer.values():
            back = SiteStatistics.from_record(json.loads(json.dumps(statistics.record())))
            assert back.record() == statistics.record()
            assert back.below == statistics.below
            assert back.below_relative == statistics.below_relative
            assert back.below_output == statistics.below_output


def test_half_precision_models_are_measured_in_float64(tiny_model: PreTrainedModel) -> None:
    half = copy.deepcopy(tiny_model).bfloat16()
    samples = sequences(4, (12, 12))
    outputs: dict[int, Tensor] = {}
    with observed(half, lambda index, before, after: outputs.update({index: after})), torch.no_grad():
        half(torch.tensor(samples))
    found = collect(half, batched(samples, 2))
    for layer, after in outputs.items():
        assert after.dtype == torch.bfloat16
        expected = after[:, 1:].double().var(correction=0).item()
        assert found[layer]["output"].values.variance().item() == pytest.approx(expected, rel=1e-9)


def test_a_window_longer_than_the_context_is_refused(tiny_model):
    with pytest.raises(ValueError, match=r"129 tokens does not fit the model's 128 positions"):
        collect_statistics(
            tiny_model, windows([1] * 129, 129, 1), sites=SITES, absolute=[1e-5], relative=[0.1]
        )
