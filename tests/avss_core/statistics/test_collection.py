import copy
import json
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import LlamaConfig, PreTrainedModel

from avss_core.models.activations import SITES, observed
from avss_core.models.architectures import blocks
from avss_core.models.batches import Batch, pad, windows
from avss_core.statistics.collection import collect_statistics
from avss_core.statistics.statistics import (
    BLOCK_FIGURES,
    LARGEST_RATIO,
    LEAST_RELATIVE_VARIANCE,
    TOKEN_FIGURES,
    LayerStatistics,
    SiteStatistics,
    Statistics,
    Thresholds,
    merge_statistics,
)

LENGTHS = (23, 2, 9, 17, 5, 30, 12, 8)
THRESHOLDS = Thresholds(absolute=0.5, relative=0.1)


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


def collect(
    model: nn.Module,
    batches: Iterator[Batch] | list[Batch],
    *,
    sites: Sequence[str] | None = None,
    thresholds: Thresholds = THRESHOLDS,
) -> Statistics:
    sites = sites or (("output", "update") if isinstance(model, Stub) else SITES)
    return collect_statistics(model, batches, sites=sites, thresholds=thresholds)


def counts(statistics: SiteStatistics) -> list[int]:
    return [statistics.below_absolute, statistics.below_input, statistics.below_output]


def assert_same(found: Statistics, expected: Statistics, tolerance: float = 1e-9) -> None:
    """Compare all but what the authors' script computes, which depends on the batches."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.sites.keys() == other.sites.keys()
        pairs = [(one.block, other.block)]
        for site in one.sites:
            a, b = one.sites[site], other.sites[site]
            pairs += [(a.values, b.values), (a.tokens, b.tokens)]
            # A value within rounding of a threshold may change sides.
            assert counts(a) == pytest.approx(counts(b), abs=1)
        for mine, theirs in pairs:
            assert mine.count == theirs.count
            spread = theirs.variance().sqrt()
            # A mean near zero is known to rounding of the values that cancel in it, not of itself.
            assert ((mine.mean - theirs.mean).abs() <= tolerance * (theirs.mean.abs() + spread)).all()
            assert mine.variance().tolist() == pytest.approx(theirs.variance().tolist(), rel=tolerance)


def records(statistics: Statistics) -> list[dict[str, Any]]:
    return [layer.record() for layer in statistics]


def figures(layer: LayerStatistics, site: str) -> list[float]:
    token = [layer.sites[site].token_mean(figure) for figure in TOKEN_FIGURES]
    return token + [layer.block_mean(figure) for figure in BLOCK_FIGURES]


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_statistics_of_two_known_layers() -> None:
    names = ("variance_over_input", "log_relative_variance", "l1", "l2")
    assert names == TOKEN_FIGURES, "the lists of figures below stand in this order"
    assert BLOCK_FIGURES == ("block_influence", "angular", "relative_magnitude"), "and end with these"
    batch = pad([[0, 1]])
    model = Stub(Double(), QuarterTurn())
    double, turn = collect(model, [batch], thresholds=Thresholds(2.5, 0.5))
    wide = collect(model, [batch], thresholds=Thresholds(2.5, 1.0))[0]
    # The first layer reads (3, 4) and (0, 2) and doubles them, so what it adds is what it reads.
    output, update = double.sites["output"], double.sites["update"]
    assert (output.values.count, output.tokens.count, double.block.count) == (4, 2, 2)
    assert (output.values.mean.item(), output.values.variance().item()) == (4.5, 8.75)
    assert (update.values.mean.item(), update.values.variance().item()) == (2.25, 2.1875)
    assert (output.below_absolute, update.below_absolute) == (1, 2)
    # The RMS of what is read is 3.54 and 1.41; a half of it is above 0 alone, all of it above 3 too.
    assert (update.below_input, wide.sites["update"].below_input) == (1, 2)
    assert (output.below_input, wide.sites["output"].below_input) == (1, 1)
    # What is written is twice that: half of it is above (3) of the first token and 0 of the second.
    assert (update.below_output, wide.sites["update"].below_output) == (2, 4)
    assert (update.share_below_output(), wide.sites["update"].share_below_output()) == (0.5, 1)
    assert figures(double, "update") == pytest.approx([1, math.log(0.25), 4.5, 3.5, 0, 0, 0.5], abs=1e-7)
    assert figures(double, "output")[:4] == pytest.approx([4, 0, 9, 7])
    assert output.frobenius() == pytest.approx(math.sqrt(36 + 64 + 16))
    assert output.frobenius_per_root_token() == output.frobenius() / math.sqrt(2)
    # The second reads (6, 8) and (0, 4) and gives (-8, 6) and (-4, 0): it adds (-14, -2) and (-4, -4).
    update = turn.sites["update"]
    assert (update.values.mean.item(), update.values.variance().item()) == (-6, 22)
    lengths = math.sqrt(200), math.sqrt(32)
    small = math.log(36 / 49) + math.log(LEAST_RELATIVE_VARIANCE)
    assert figures(turn, "update") == pytest.approx(
        [18, small / 2, 12, sum(lengths) / 2, 1, 0.5, math.sqrt(2)]
    )
    # The script of the paper: mean over the two tokens, variance over the two units with n - 1.
    assert double.published == ((4.5, 0.25),)
    assert turn.published == ((40.5, 0.25),)


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
    assert one_by_one[0].sites["update"].tokens.count == sum(LENGTHS) - len(LENGTHS)
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
    assert_same(merge_statistics([first, second]), collect(exact_model, batched(samples, 8)))


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_any_number_of_workers_gives_the_same_in_whatever_order_they_end(
    exact_model: PreTrainedModel, workers: int
) -> None:
    samples = sequences()
    parts = [collect(exact_model, batched(samples[i::workers], 2)) for i in range(workers)]
    assert_same(merge_statistics(parts[::-1]), collect(exact_model, batched(samples, 8)))


def test_doubling_the_data_changes_counts_and_no_figure(tiny_model: PreTrainedModel) -> None:
    once = collect(tiny_model, batched(sequences(), 4))
    twice = collect(tiny_model, batched(sequences() * 2, 4))
    for before, after in zip(once, twice, strict=True):
        assert after.block.mean.tolist() == pytest.approx(before.block.mean.tolist())
        for site in SITES:
            one, two = before.sites[site], after.sites[site]
            assert two.values.count == 2 * one.values.count
            assert counts(two) == [2 * count for count in counts(one)]
            assert two.tokens.mean.tolist() == pytest.approx(one.tokens.mean.tolist())
            assert two.values.variance().tolist() == pytest.approx(one.values.variance().tolist())


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
            np.mean(np.abs(update).sum(axis=1)),
            np.mean(np.linalg.norm(update, axis=1)),
            np.mean(1 - cosine),
            np.mean(np.arccos(cosine) / np.pi),
            np.mean(np.linalg.norm(update, axis=1) / np.linalg.norm(y, axis=1)),
        ]
        statistics = found[layer].sites["update"]
        assert statistics.frobenius() == pytest.approx(np.linalg.norm(update), rel=1e-5)
        assert figures(found[layer], "update") == pytest.approx(expected, rel=1e-5)
        assert statistics.values.variance().item() == pytest.approx(np.var(update), rel=1e-5)
        assert statistics.below_absolute == pytest.approx(np.sum(np.abs(update) < 0.5), abs=1)
        rms = np.sqrt(np.mean(x**2, axis=1, keepdims=True))
        assert statistics.below_input == pytest.approx(np.sum(np.abs(update) < 0.1 * rms), abs=1)
        assert found[layer].sites["output"].values.variance().item() == pytest.approx(np.var(y), rel=1e-5)


class Scale(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.factor * hidden_states


def test_parallel_rows_give_an_angle_and_no_nan_where_the_cosine_rounds_past_one() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5000, 7, generator=generator, dtype=torch.float64)
    twice = 3.1 * rows
    cosine = (rows * twice).sum(1) / rows.norm(dim=1) / twice.norm(dim=1)
    assert (cosine > 1).any(), "the case must be one where rounding carries the cosine past 1"
    model = Stub(Scale(3.1), Scale(-3.1))
    model.config.max_position_embeddings = 5000
    model.table = nn.Parameter(rows)
    for layer, angle in zip(collect(model, [pad([list(range(5000))])]), (0.0, 1.0), strict=True):
        assert layer.block.is_finite()
        assert layer.block_mean("angular") == pytest.approx(angle, abs=1e-7)
        assert 0 <= layer.block_mean("block_influence") <= 2


def test_constant_and_dead_layers_have_finite_figures() -> None:
    model = Stub(Scale(0), Scale(0), Double())
    model.table = nn.Parameter(torch.full((3, 4), 5.0))
    dead, zeros, _ = collect(model, [pad([[0, 1]])])
    for layer in (dead, zeros):
        assert layer.block.is_finite()
        for site in ("output", "update"):
            assert layer.sites[site].tokens.is_finite()
            assert layer.sites[site].token_mean("variance_over_input") == 0
            assert layer.sites[site].values.variance().item() == 0
            assert layer.sites[site].token_mean("log_relative_variance") == math.log(LEAST_RELATIVE_VARIANCE)
    assert dead.block_mean("relative_magnitude") == LARGEST_RATIO
    assert zeros.block_mean("relative_magnitude") == 0
    assert counts(zeros.sites["update"]) == [8, 0, 0]


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
            found = [layer.block, *(m for site in layer.sites.values() for m in (site.values, site.tokens))]
            tensors = [tensor for moments in found for tensor in (moments.mean, moments.centred)]
            # The storage, since a view of one number would keep its whole batch alive.
            assert [tensor.untyped_storage().nbytes() for tensor in tensors] == [24, 24] + [8, 8, 32, 32] * 5
            assert not any(tensor.requires_grad for tensor in tensors)


def test_only_the_named_sites_are_collected(tiny_model: PreTrainedModel) -> None:
    found = collect(tiny_model, batched(sequences(), 4), sites=["update"])
    assert [list(layer.sites) for layer in found] == [["update"]] * 6


def test_the_record_restores_the_statistics_to_the_bit(tiny_model: PreTrainedModel) -> None:
    for layer in collect(tiny_model, batched(sequences(), 4)):
        back = LayerStatistics.from_record(json.loads(json.dumps(layer.record())))
        assert back.record() == layer.record()
        assert back.published == layer.published
        for site, found in layer.sites.items():
            assert counts(back.sites[site]) == counts(found)


def test_nothing_to_merge_is_refused() -> None:
    with pytest.raises(ValueError, match="no statistics to merge"):
        merge_statistics([])


INNER: dict[str, tuple[str, str, str]] = {
    "gpt2": ("attn", "mlp", "mlp.c_proj"),
    "gpt_neox": ("attention", "mlp", "mlp.dense_4h_to_h"),
    "llama": ("self_attn", "mlp", "mlp.down_proj"),
    "opt": ("self_attn", "fc2", "fc2"),
}


@pytest.mark.parametrize("family", INNER)
def test_inner_sites_hold_what_their_modules_compute(tiny: Any, family: str) -> None:
    model = tiny(family)
    attention, mlp, down = INNER[family]
    kept: dict[str, Tensor] = {}

    def keep(name: str, before: bool) -> Any:
        def hook(_module: nn.Module, args: Any, result: Any) -> None:
            found = args[0] if before else result[0] if isinstance(result, tuple) else result
            kept[name] = found.reshape(3, 12, -1)[:, 1:].reshape(-1, found.shape[-1]).double()

        return hook

    block = blocks(model)[3]
    handles = [
        block.get_submodule(path).register_forward_hook(keep(site, site == "mlp_act"))
        for site, path in (("attention", attention), ("mlp", mlp), ("mlp_act", down))
    ]
    found = collect(model, batched(sequences(6, (12, 12, 12)), 3))[3]
    for handle in handles:
        handle.remove()
    assert kept["mlp_act"].shape[1] == (128 if family == "gpt2" else 64)
    for site, rows in kept.items():
        values = found.sites[site]
        assert values.values.count == rows.numel()
        assert values.values.variance().item() == pytest.approx(rows.var(correction=0).item(), rel=1e-9)
        assert values.token_mean("l1") == pytest.approx(rows.abs().sum(1).mean().item(), rel=1e-9)
        assert values.frobenius() == pytest.approx(torch.linalg.matrix_norm(rows).item(), rel=1e-9)
        assert values.below_absolute == int((rows.abs() < 0.5).sum())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_attention_and_mlp_add_up_to_the_update(tiny: Any, family: str) -> None:
    model = tiny(family).double()
    means = {
        site: collect(model, batched(sequences(), 8))[2].sites[site].values.mean.item()
        for site in ("update", "attention", "mlp")
    }
    assert means["update"] == pytest.approx(means["attention"] + means["mlp"], rel=1e-9)


@given(st.floats(1e-3, 1e3))
@settings(max_examples=10)
def test_scaling_the_stream_scales_variances_and_leaves_shares(factor: float) -> None:
    generator = torch.Generator().manual_seed(2)
    table = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    plain, scaled = Stub(Scale(1.5), Scale(0.25)), Stub(Scale(1.5), Scale(0.25))
    plain.table, scaled.table = nn.Parameter(table), nn.Parameter(factor * table)
    batches = [pad([[0, 1, 2, 1]])]
    for one, other in zip(collect(plain, batches), collect(scaled, batches), strict=True):
        for site in ("output", "update"):
            before, after = one.sites[site], other.sites[site]
            assert after.values.variance().item() == pytest.approx(
                factor**2 * before.values.variance().item()
            )
            assert after.frobenius() == pytest.approx(factor * before.frobenius())
            assert counts(after)[1:] == counts(before)[1:]
            assert after.token_mean("log_relative_variance") == pytest.approx(
                before.token_mean("log_relative_variance")
            )
        assert other.block.mean.tolist() == pytest.approx(one.block.mean.tolist(), abs=1e-7)


def test_half_precision_models_are_measured_in_float64(tiny_model: PreTrainedModel) -> None:
    half = copy.deepcopy(tiny_model).bfloat16()
    samples = sequences(4, (12, 12))
    outputs: dict[int, Tensor] = {}
    with observed(half, lambda index, seen: outputs.update({index: seen["output"]})), torch.no_grad():
        half(torch.tensor(samples))
    found = collect(half, batched(samples, 2))
    for layer, after in outputs.items():
        assert after.dtype == torch.bfloat16
        expected = after[:, 1:].double().var(correction=0).item()
        assert found[layer].sites["output"].values.variance().item() == pytest.approx(expected, rel=1e-9)


def test_a_window_longer_than_the_context_is_refused(tiny_model):
    with pytest.raises(ValueError, match=r"129 tokens does not fit the model's 128 positions"):
        collect(tiny_model, windows([1] * 129, 129, 1))
