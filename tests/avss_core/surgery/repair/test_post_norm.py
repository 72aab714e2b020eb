"""Repair of encoders: what is linear before the norm comes back exactly, however windows are dealt out."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from avss_core.models.architectures import architecture_of, blocks, first_position
from avss_core.models.batches import Batch, pad
from avss_core.models.families import ENCODERS
from avss_core.surgery.pruning import prune
from avss_core.surgery.repair.gram import Ridge
from avss_core.surgery.repair.outlets import outlets
from avss_core.surgery.repair.repair import Refit, repair

GENERATOR = torch.Generator().manual_seed(5)
WINDOWS = [torch.randint(2, 250, (16,), generator=GENERATOR).tolist() for _ in range(48)]
KEPT = [0, 1, 4, 5]


def dealt(windows: Sequence[Sequence[int]], size: int = 8, **padding: Any) -> list[Batch]:
    return [pad(windows[i : i + size], **padding) for i in range(0, len(windows), size)]


def repaired(
    dense: PreTrainedModel, batches: Sequence[Batch], kept: Sequence[int] = KEPT, **options: Any
) -> Any:
    pruned = prune(dense, [layer for layer in range(len(blocks(dense))) if layer not in kept])
    return pruned, *repair(pruned, dense, kept, batches, **options)


def last_states(model: Any, batches: Sequence[Batch]) -> Tensor:
    with torch.no_grad():
        states = [
            model.base_model(
                **each.inputs(torch.device("cpu"), first_position(model.config))
            ).last_hidden_state
            for each in batches
        ]
    return torch.cat([state[batch.counted] for state, batch in zip(states, batches, strict=True)]).double()


def distance(model: PreTrainedModel, dense: PreTrainedModel) -> float:
    batches = dealt(WINDOWS)
    goal = last_states(dense, batches)
    return float((last_states(model, batches) - goal).norm() / goal.norm())


def silence(block: Any) -> None:
    """Let a block add nothing, and its norms pass on what has mean 0 and variance 1."""
    for part in (block.attention.output, block.output):
        for tensor in part.dense.parameters():
            tensor.zero_()
        part.LayerNorm.weight.fill_(1.0)
        part.LayerNorm.bias.zero_()


@torch.no_grad()
def turned(tiny: Any) -> Any:
    """Return a BERT whose layer 1 turns the stream about (1, ..., 1), and whose block 0 can do that as well.

    The MLPs pass relu(x) and relu(-x) on, of which each linear map of x can be made. What is turned has the
    mean and the variance that it had, so that no norm changes it.
    """
    dense = tiny("bert", layers=3, hidden_act="relu", type_vocab_size=2)
    width = dense.config.hidden_size
    one = torch.full((width, 1), width**-0.5)
    basis = torch.linalg.qr(torch.cat([one, torch.randn(width, width - 1, generator=GENERATOR)], 1))[0]
    turn = torch.linalg.qr(torch.randn(width - 1, width - 1, generator=GENERATOR))[0]
    around = basis @ torch.block_diag(torch.ones(1, 1), turn) @ basis.T
    both = torch.cat([torch.eye(width), -torch.eye(width)])
    for layer in (0, 1):
        block = blocks(dense)[layer]
        silence(block)
        block.intermediate.dense.weight.copy_(both)
        block.intermediate.dense.bias.zero_()
    change = around - torch.eye(width)
    blocks(dense)[1].output.dense.weight.copy_(torch.cat([change, -change], 1))
    return dense


def test_what_the_block_before_can_do_comes_back_exactly(tiny: Any) -> None:
    dense = turned(tiny)
    pruned, model, refits = repaired(dense, dealt(WINDOWS), [0, 2])
    assert distance(pruned, dense) > 0.5
    assert distance(model, dense) < 1e-4
    assert refits[0].errors["output.dense"] < 1e-8


def test_behind_an_identity_nothing_changes(tiny: Any) -> None:
    dense = tiny("bert", layers=4)
    with torch.no_grad():
        for layer in (1, 2):
            silence(blocks(dense)[layer])
    pruned, model, _ = repaired(dense, dealt(WINDOWS), [0, 1, 3])
    assert distance(pruned, dense) < 1e-5
    assert distance(model, dense) < 1e-5


@pytest.mark.parametrize("family", sorted(ENCODERS))
def test_every_encoder_comes_nearer_to_the_dense_one(tiny: Any, family: str) -> None:
    dense = tiny(family)
    pruned, model, refits = repaired(dense, dealt(WINDOWS))
    assert distance(model, dense) < 0.5 * distance(pruned, dense)
    down = architecture_of(dense).down
    assert {name.rpartition(f"{down}.")[2] for refit in refits for name in refit.tensors} == {
        "weight",
        "bias",
    }


def test_dealing_order_and_padding_of_windows_do_not_matter(tiny: Any) -> None:
    dense = tiny("bert")
    uneven = [window[: 5 + index % 12] for index, window in enumerate(WINDOWS)]
    order = torch.randperm(len(uneven), generator=GENERATOR).tolist()
    dealings = [
        dealt(uneven),
        dealt(uneven, 5),
        dealt([uneven[i] for i in order], 8, fill=7),
        dealt(uneven, 1),
    ]
    first, *others = [weights(repaired(dense, batches, ridges=[1.0])[2]) for batches in dealings]
    for other in others:
        assert first.keys() == other.keys()
        for name, tensor in first.items():
            assert (tensor - other[name]).norm() <= 1e-6 * tensor.norm(), name


def weights(refits: Sequence[Refit]) -> dict[str, Tensor]:
    return {name: tensor.double() for refit in refits for name, tensor in refit.tensors.items()}


def test_the_rows_say_what_a_change_does_at_each_token_s_scale(tiny: Any) -> None:
    """With gains and shifts of all sizes: by hand, the norm of the changed sum with the scale that it had."""
    outlet: Any = outlets(tiny("distilbert"), 1)[-1]
    inputs, sums = (torch.randn(40, width, generator=GENERATOR).double() for width in outlet.weight.shape)
    norm = outlet.block.output_layer_norm
    gain, shift = norm.weight.detach().double(), norm.bias.detach().double()
    centred = sums - sums.mean(1, keepdim=True)
    scale = (centred.square().mean(1, keepdim=True) + norm.eps).sqrt()
    output = outlet.written(inputs, outlet.rest(inputs, sums))
    assert torch.allclose(output, gain * centred / scale + shift)
    rows, missing = outlet.rows(inputs, output + torch.randn(output.shape, generator=GENERATOR), output, sums)
    assert (missing @ (1 / gain)).abs().max() < 1e-6  # nothing is asked for that no sum can reach
    before = outlet.weight.double().clone(), outlet._stored_bias().double().clone()
    step = torch.linalg.lstsq(rows, missing).solution
    outlet.change(Ridge(step, None))
    change = inputs @ (outlet.weight.double() - before[0]) + outlet._stored_bias().double() - before[1]
    arrived = gain * (change - change.mean(1, keepdim=True)) / scale
    assert torch.allclose(arrived, rows @ step, atol=1e-5)
