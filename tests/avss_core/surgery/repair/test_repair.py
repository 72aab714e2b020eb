"""Repair: what is linear comes back exactly, what is whole stays, however the windows are dealt out."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as Reference
from torch import Tensor
from transformers import PreTrainedModel

from avss_core.models.architectures import block_path, blocks
from avss_core.models.batches import Batch, pad
from avss_core.models.families import DECODERS
from avss_core.surgery.pruning import prune
from avss_core.surgery.repair.outlets import outlets
from avss_core.surgery.repair.projections import token_weights
from avss_core.surgery.repair.refitting import apply
from avss_core.surgery.repair.repair import (
    Refit,
    first_to_repair,
    goals,
    passes,
)
from avss_core.surgery.repair.repair import (
    refits as refit_all,
)
from tests.planted import linear_layer

GENERATOR = torch.Generator().manual_seed(5)
WINDOWS = [torch.randint(0, 256, (16,), generator=GENERATOR).tolist() for _ in range(48)]
KEPT = [0, 1, 4, 5]


def dealt(windows: Sequence[Sequence[int]], size: int = 8, **padding: Any) -> list[Batch]:
    return [pad(windows[i : i + size], skip=1, **padding) for i in range(0, len(windows), size)]


def run(
    pruned: PreTrainedModel, dense: PreTrainedModel, batches: Sequence[Batch], **options: Any
) -> list[Refit]:
    kept = options.pop("kept", KEPT)
    return list(refit_all(pruned, dense, kept, batches, **options))


def last_states(model: Any, batches: Sequence[Batch]) -> Tensor:
    with torch.no_grad():
        found = [model.base_model(**batch.inputs(torch.device("cpu"))).last_hidden_state for batch in batches]
    return torch.cat([state[batch.counted] for state, batch in zip(found, batches, strict=True)]).double()


def weights(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def removed(dense: PreTrainedModel, kept: Sequence[int] = KEPT) -> PreTrainedModel:
    return prune(dense, [layer for layer in range(len(blocks(dense))) if layer not in kept])


def test_goals_are_the_layers_before_the_next_kept_one() -> None:
    assert goals([1, 2, 5], 8) == [1, 4, 7]
    assert [first_to_repair(kept, 4) for kept in ([0, 1, 2], [0, 2, 3], [1, 2, 3])] == [2, 0, 0]
    with pytest.raises(ValueError, match="no layer of 4 is missing"):
        first_to_repair([0, 1, 2, 3], 4)


def test_a_linear_layer_comes_back(tiny: Any) -> None:
    dense = linear_layer(tiny)
    kept = [0, 2, 3, 4, 5]
    pruned = removed(dense, kept)
    batch = dealt(WINDOWS, 48)[0]

    def logits(model: Any) -> Tensor:
        with torch.no_grad():
            found: Tensor = model(**batch.inputs(torch.device("cpu"))).logits
        return found

    wanted = logits(dense)
    assert (logits(pruned) - wanted).norm() > 0.1 * wanted.norm()
    run(pruned, dense, dealt(WINDOWS), kept=kept, attention=False)
    assert (logits(pruned) - wanted).norm() < 1e-4 * wanted.norm()


def test_an_identity_layer_needs_no_change(tiny: Any) -> None:
    dense = tiny("llama")
    with torch.no_grad():
        for layer in (2, 3):
            dense.model.layers[layer].self_attn.o_proj.weight.zero_()
            dense.model.layers[layer].mlp.down_proj.weight.zero_()
    pruned = removed(dense)
    before = weights(pruned)
    refits = run(pruned, dense, dealt(WINDOWS))
    assert all(not refit.tensors for refit in refits)
    run(pruned, dense, dealt(WINDOWS), ridges=[1e-3])
    assert all(torch.equal(tensor, before[name]) for name, tensor in pruned.state_dict().items())


@pytest.mark.parametrize("family", ["llama", "gpt2", "olmo2"])
def test_shuffled_split_and_padded_windows_give_the_same_weights(tiny: Any, family: str) -> None:
    dense = tiny(family).double()
    lengths = [16 - 3 * (index % 3) for index in range(48)]
    windows = [window[:length] for window, length in zip(WINDOWS, lengths, strict=True)]
    found = []
    for batches in (
        dealt(windows),
        dealt(windows[::-1], 5),
        dealt(sorted(windows, key=len), 48, left=True, fill=7),
        dealt(windows, 1),
    ):
        pruned = removed(dense)
        run(pruned, dense, batches)
        found.append(weights(pruned))
    untouched = removed(dense).state_dict()
    assert any(not torch.equal(found[0][name], tensor) for name, tensor in untouched.items())
    for other in found[1:]:
        for name, tensor in found[0].items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "phi"])
def test_one_block_is_refitted_as_scikit_learn_does(tiny: Any, family: str) -> None:
    dense = tiny(family)
    pruned = removed(dense)
    batches, ridge = dealt(WINDOWS), 0.05
    outlet, reads, misses, sizes = outlets(pruned, 1)[-1], [], [], []
    for batch in batches:
        seen: dict[str, Tensor] = {}
        hooks = [
            outlet.block.get_submodule(outlet.projection).register_forward_pre_hook(
                lambda _module, args, seen=seen: seen.update(h=args[0])
            ),
            outlet.block.register_forward_hook(lambda _m, _a, out, seen=seen: seen.update(out=out)),
            blocks(dense)[3].register_forward_hook(lambda _m, _a, out, seen=seen: seen.update(goal=out)),
        ]
        last_states(pruned, [batch]), last_states(dense, [batch])
        for hook in hooks:
            hook.remove()
        out, goal = (x[0] if isinstance(x, tuple) else x for x in (seen["out"], seen["goal"]))
        reads.append(seen["h"].view(*out.shape[:2], -1)[batch.attention])
        misses.append((goal - out)[batch.attention])
        sizes.append(goal[batch.attention].double().square().mean(1))
    rows, missing = torch.cat(reads).double(), torch.cat(misses).double()
    biased = outlet.bias is not None
    each = 1 / (torch.cat(sizes) + 1e-6)
    around = rows - each @ rows / each.sum() if biased else rows
    penalty = ridge * float(each @ around.square().sum(1)) / rows.shape[1]
    reference = Reference(alpha=penalty, fit_intercept=biased).fit(
        rows.numpy(), missing.numpy(), sample_weight=each.numpy()
    )
    old, old_bias = outlet.weight.clone(), None if outlet.bias is None else outlet.bias.clone()
    run(pruned, dense, batches, ridges=[ridge], attention=False)
    np.testing.assert_allclose((outlet.weight - old).numpy(), reference.coef_.T, atol=2e-5)
    assert biased == (family != "llama")
    if old_bias is not None and outlet.bias is not None:
        np.testing.assert_allclose((outlet.bias - old_bias).numpy(), reference.intercept_, atol=2e-5)


@pytest.mark.parametrize("family", sorted(DECODERS))
def test_every_decoder_comes_nearer_to_the_dense_model(tiny: Any, family: str) -> None:
    dense = tiny(family)
    pruned, before = removed(dense), weights(dense)
    batches = dealt(WINDOWS)
    wanted, far = last_states(dense, batches), last_states(pruned, batches)
    shapes = {name: tensor.shape for name, tensor in pruned.state_dict().items()}
    untouched = weights(pruned)
    refits = run(pruned, dense, batches)
    near = last_states(pruned, batches)
    assert (near - wanted).square().sum() < (far - wanted).square().sum()
    assert {name: tensor.shape for name, tensor in pruned.state_dict().items()} == shapes
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())
    listed = {name for refit in refits for name in refit.tensors}
    assert listed
    changed = {n for n, tensor in pruned.state_dict().items() if not torch.equal(tensor, untouched[n])}
    assert changed == listed
    again = removed(dense)
    for refit in refits:
        apply(again, refit)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in pruned.state_dict().items())


def test_a_killed_repair_goes_on(tiny_llama: PreTrainedModel) -> None:
    batches = dealt(WINDOWS)
    whole, part, rest = (removed(tiny_llama) for _ in range(3))
    refits = run(whole, tiny_llama, batches)
    generator = refit_all(part, tiny_llama, KEPT, batches)
    done = [next(generator)]
    generator.close()
    after = run(rest, tiny_llama, batches, known=done)
    assert [refit.layer for refit in after] == [refit.layer for refit in refits] == [1, 2, 3]
    state = rest.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in whole.state_dict().items())


def test_only_blocks_from_the_first_gap_on_change(tiny_llama: PreTrainedModel) -> None:
    pruned = removed(tiny_llama, [0, 1, 2, 4, 5])
    refits = run(pruned, tiny_llama, dealt(WINDOWS), kept=[0, 1, 2, 4, 5])
    assert [refit.layer for refit in refits] == [2, 3, 4]
    prefix = f"{block_path(pruned)}.2."
    assert set(refits[0].tensors) <= {f"{prefix}self_attn.o_proj.weight", f"{prefix}mlp.down_proj.weight"}
    assert refits[0].ridges.keys() == refits[0].errors.keys() == {"self_attn.o_proj", "mlp.down_proj"}


def test_a_missing_first_layer_is_made_good_behind_it(tiny_llama: PreTrainedModel) -> None:
    batches, kept = dealt(WINDOWS), [1, 2, 3, 4, 5]
    pruned = removed(tiny_llama, kept)
    wanted, far = last_states(tiny_llama, batches), last_states(pruned, batches)
    assert [refit.layer for refit in run(pruned, tiny_llama, batches, kept=kept)] == [0, 1, 2, 3, 4]
    assert (last_states(pruned, batches) - wanted).norm() < (far - wanted).norm()


def test_half_precision_stays_half_precision(tiny: Any) -> None:
    dense = tiny("llama").to(torch.bfloat16)
    pruned = removed(dense)
    refits = run(pruned, dense, dealt(WINDOWS))
    assert {tensor.dtype for refit in refits for tensor in refit.tensors.values()} == {torch.bfloat16}


def test_the_repaired_model_can_be_trained(tiny_llama: PreTrainedModel) -> None:
    pruned = removed(tiny_llama)
    run(pruned, tiny_llama, dealt(WINDOWS))
    batch = dealt(WINDOWS)[0]
    loss = pruned(batch.ids, labels=batch.ids).loss
    loss.backward()
    assert all(parameter.grad is not None for parameter in pruned.parameters())


def test_states_are_spooled_where_asked_and_removed(tiny_llama: PreTrainedModel, tmp_path: Path) -> None:
    generator = refit_all(removed(tiny_llama), tiny_llama, KEPT, dealt(WINDOWS), folder=tmp_path)
    next(generator)
    (room,) = tmp_path.iterdir()
    sizes = {path.stat().st_size for path in room.iterdir()}
    assert sizes == {48 * 16 * 32 * 4, 48 * 16 * 64 * 4}  # states, and what the last projection reads
    generator.close()
    assert not list(tmp_path.iterdir())


def test_progress_counts_the_windows_of_each_pass(tiny_llama: PreTrainedModel) -> None:
    told: list[int] = []
    run(removed(tiny_llama), tiny_llama, dealt(WINDOWS), progress=told.append)
    # Six dense blocks, and three kept ones, measured at two projections.
    assert sum(told) == 48 * (6 + 3 * 2) == 48 * passes(KEPT, 6)


def test_a_norm_in_the_stream_is_refused(tiny: Any) -> None:
    dense = tiny("opt", do_layer_norm_before=False)
    with pytest.raises(ValueError, match="cannot repair a opt model: what its last projection writes"):
        run(removed(dense), dense, dealt(WINDOWS))


def test_experts_are_refused_by_name(tiny_llama: PreTrainedModel) -> None:
    dense = copy.deepcopy(tiny_llama)
    pruned = removed(dense)
    del pruned.model.layers[2].mlp.down_proj
    with pytest.raises(ValueError, match=r"llama model: layer 2 has no single projection mlp\.down_proj"):
        run(pruned, dense, dealt(WINDOWS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kept": [0, 1, 4]}, "3 kept layers are named, but the pruned model has 4"),
        ({"kept": [0, 4, 1, 5]}, r"kept layers \[0, 4, 1, 5\] are not ascending"),
        ({"kept": [0, 1, 4, 6]}, "not ascending numbers of the dense model's 6"),
        ({"held_out": 1}, "held_out is 1"),
        ({"ridges": []}, "no ridge"),
        ({"anticipation": 1.5}, r"anticipation 1\.5 does not lie between 0 and 1"),
        ({"ridges": [0.0]}, r"ridge 0\.0 is not a positive number"),
    ],
)
def test_what_does_not_fit_is_refused(
    tiny_llama: PreTrainedModel, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(removed(tiny_llama), tiny_llama, dealt(WINDOWS), **options)


def test_too_few_windows_are_refused(tiny_llama: PreTrainedModel) -> None:
    pruned = removed(tiny_llama)
    with pytest.raises(ValueError, match="no calibration windows"):
        run(pruned, tiny_llama, [])
    with pytest.raises(ValueError, match="there are 3 different ones"):
        run(pruned, tiny_llama, dealt([*WINDOWS[:3], WINDOWS[0]]))
    run(pruned, tiny_llama, dealt(WINDOWS[:1]), ridges=[1.0])


def test_values_that_are_not_finite_are_named(tiny: Any) -> None:
    dense = tiny("llama")
    pruned = removed(dense)
    with torch.no_grad():
        dense.model.layers[3].mlp.down_proj.weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match="layer 1: an activation is not a finite number"):
        run(pruned, dense, dealt(WINDOWS))


def test_a_token_s_error_counts_relative_to_its_goal() -> None:
    # Mean squares 1 and 100: the same error is a hundredth behind a norm's squares.
    found = token_weights(torch.tensor([[1.0, -1.0], [10.0, 10.0]]))
    assert found.tolist() == pytest.approx([1.0, 0.01], rel=1e-5)
    assert token_weights(torch.zeros(1, 2)).isfinite().all()
