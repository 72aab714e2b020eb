"""What a repair leaves open without each layer: nothing of a linear one, else what the repair leaves."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from avss_core.models.activations import observed, run_blocks
from avss_core.models.batches import Batch, pad
from avss_core.models.families import DECODERS, ENCODERS
from avss_core.scores.repairability import layer_residuals
from avss_core.surgery.pruning import prune
from avss_core.surgery.repair.repair import refits
from tests.planted import linear_layer

GENERATOR = torch.Generator().manual_seed(3)
WINDOWS = [torch.randint(0, 256, (16,), generator=GENERATOR).tolist() for _ in range(24)]


def dealt(windows: list[list[int]], size: int = 5) -> list[Batch]:
    return [pad(windows[i : i + size], skip=1) for i in range(0, len(windows), size)]


def seen(model: PreTrainedModel, batches: list[Batch]) -> dict[tuple[int, str], Tensor]:
    """Return what each block reads and returns, by layer and side, as [windows, rows, hidden]."""
    found: dict[tuple[int, str], list[Tensor]] = {}
    for batch in batches:
        kept: list[tuple[int, Any]] = []
        with torch.no_grad(), observed(model, lambda *call, kept=kept: kept.append(call)):
            run_blocks(model, batch)
        for layer, sides in kept:
            for side in ("input", "output"):
                found.setdefault((layer, side), []).append(sides[side].double())
    return {key: torch.cat(states) for key, states in found.items()}


def relative(errors: Tensor, goals: Tensor) -> Tensor:
    """Each window's sum of |error|^2 / |goal|^2 over its tokens."""
    return (errors.double().square().mean(-1) / (goals.double().square().mean(-1) + 1e-6)).sum(1)


def linear(tiny: Any) -> PreTrainedModel:
    """A model whose layer 1 is linear in what the last projection of block 0 reads."""
    return linear_layer(tiny)  # type: ignore[no-any-return]


def test_a_linear_layer_leaves_nothing_open(tiny: Any) -> None:
    dense = linear(tiny)
    found = layer_residuals(dense, dealt(WINDOWS), ridge=1e-9)
    states = seen(dense, dealt(WINDOWS))
    update = float(relative(states[1, "output"] - states[1, "input"], states[1, "output"]).sum())
    assert sum(found[1].residuals) < 1e-6 * update
    assert update > 0.1 * sum(found[1].outputs)
    assert all(sum(each.residuals) > 1e-3 * sum(each.outputs) for each in found[2:])


def test_a_planted_identity_layer_leaves_nothing_open(tiny: Any) -> None:
    dense = tiny("llama")
    with torch.no_grad():
        dense.model.layers[3].self_attn.o_proj.weight.zero_()
        dense.model.layers[3].mlp.down_proj.weight.zero_()
    found = layer_residuals(dense, dealt(WINDOWS))
    assert found[3].residuals == (0.0,) * 24
    assert all(sum(each.residuals) > 0 for each in found if each.layer != 3)


def test_the_first_layer_leaves_its_whole_update_open(tiny_model: PreTrainedModel) -> None:
    batches = dealt(WINDOWS)
    states = seen(tiny_model, batches)
    first = layer_residuals(tiny_model, batches)[0]
    update = relative(states[0, "output"] - states[0, "input"], states[0, "output"])
    assert list(first.residuals) == pytest.approx(update.tolist(), rel=1e-5)
    assert list(first.outputs) == pytest.approx(relative(states[0, "output"], states[0, "output"]).tolist())


@pytest.mark.parametrize("family", ["llama", "gpt2", "olmo2", "gemma2"])
def test_the_residual_is_that_of_the_model_that_the_repair_makes(tiny: Any, family: str) -> None:
    dense, layer, ridge = tiny(family), 3, 0.5
    found = layer_residuals(dense, dealt(WINDOWS), ridge=ridge)[layer]
    goal = seen(dense, dealt(WINDOWS))[layer, "output"]
    for fold in (0, 1):
        pruned = prune(dense, [layer])
        kept = [each for each in range(6) if each != layer]
        others = dealt([window for index, window in enumerate(WINDOWS) if index % 2 != fold])
        first = next(refits(pruned, dense, kept, others, ridges=[ridge], attention=False))
        assert first.layer == layer - 1
        output = seen(pruned, dealt(WINDOWS))[layer - 1, "output"]
        expected = relative(goal - output, goal)[fold::2]
        assert list(found.residuals[fold::2]) == pytest.approx(expected.tolist(), rel=1e-3)


def test_the_batches_do_not_count_and_the_model_stays_as_it_is(tiny_model: PreTrainedModel) -> None:
    before = copy.deepcopy(tiny_model.state_dict())
    whole = layer_residuals(tiny_model, dealt(WINDOWS, 24))
    for each, other in zip(whole, layer_residuals(tiny_model, dealt(WINDOWS, 1)), strict=True):
        assert each.layer == other.layer
        assert list(each.residuals) == pytest.approx(list(other.residuals), rel=1e-4)
    after = tiny_model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in tiny_model.modules())


@pytest.mark.parametrize("family", sorted(DECODERS))
def test_every_decoder_has_a_finite_residual_a_layer(tiny: Any, family: str) -> None:
    told: list[int] = []
    found = layer_residuals(tiny(family), dealt(WINDOWS[:4]), progress=told.append)
    assert [each.layer for each in found] == list(range(6))
    assert all(0 < sum(each.residuals) < float("inf") for each in found)
    assert sum(told) == 6 * 4


@pytest.mark.parametrize("family", sorted(ENCODERS))
def test_encoders_are_refused_by_name(tiny: Any, family: str) -> None:
    with pytest.raises(ValueError, match=f"cannot repair a {family} model"):
        layer_residuals(tiny(family), dealt(WINDOWS))


def test_one_window_and_values_that_are_not_finite_are_refused(tiny: Any) -> None:
    with pytest.raises(ValueError, match="1 windows of text cannot be dealt out to 2 folds"):
        layer_residuals(tiny("llama"), dealt(WINDOWS[:1]))
    dense = tiny("llama")
    with torch.no_grad():
        dense.model.layers[3].mlp.down_proj.weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match="layer 3: an activation is not a finite number"):
        layer_residuals(dense, dealt(WINDOWS))
