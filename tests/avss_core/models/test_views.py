from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from avss_core.models.architectures import block_path, blocks, depth
from avss_core.models.families import DECODERS
from avss_core.models.views import shallow_copy, with_blocks, without_layers
from avss_core.surgery.pruning import prune

DEPTH = 6
FULL, SLIDING = "full_attention", "sliding_attention"
KINDS = [FULL, SLIDING, SLIDING, FULL, SLIDING, FULL]
REMOVED = [0, 2, 5]
WITHOUT = {("falcon", "eager"), ("gemma2", "sdpa"), ("gpt_neo", "sdpa")}
# Longer than the sliding window of 8, so that the kind of each layer shows in the logits.
PROMPT = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(9))


@pytest.fixture(scope="module", params=sorted(DECODERS))
def dense(request: pytest.FixtureRequest, tiny: Any) -> PreTrainedModel:
    """Six layers of each family, with kinds of layers in no regular order where the family has kinds."""
    kinds = {"layer_types": KINDS} if "qwen" in request.param else {}
    model: PreTrainedModel = tiny(request.param, DEPTH, **kinds)
    return model


def logits(model: PreTrainedModel) -> Tensor:
    with torch.inference_mode():
        return model(PROMPT, use_cache=False).logits


def snapshot(model: nn.Module) -> list[Any]:
    """Return the identity of every module, parameter, buffer and configuration, and every hook."""
    return [
        (name, id(module), id(getattr(module, "config", None)), list(map(id, module._modules.values())),
         list(map(id, module._parameters.values())), list(map(id, module._buffers.values())),
         list(module._forward_hooks), list(module._forward_pre_hooks))
        for name, module in model.named_modules()
    ]  # fmt: skip


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_view_gives_the_logits_of_the_pruned_model(dense: PreTrainedModel, implementation: str) -> None:
    if (dense.config.model_type, implementation) in WITHOUT:
        pytest.skip("the family has no such attention")
    before = dense.config._attn_implementation
    dense.set_attn_implementation(implementation)
    try:
        view = without_layers(dense, REMOVED)
        assert view.config._attn_implementation == implementation
        assert (logits(view) - logits(dense)).abs().max() > 0.1, "these layers must matter"
        torch.testing.assert_close(logits(view), logits(prune(dense, REMOVED)), rtol=1e-4, atol=1e-4)
    finally:
        dense.set_attn_implementation(before)
    assert torch.equal(logits(without_layers(dense, REMOVED)), logits(prune(dense, REMOVED))), "to the bit"


def test_a_view_leaves_the_model_as_it_is(dense: PreTrainedModel) -> None:
    settings, modules, full = dense.config.to_dict(), snapshot(dense), logits(dense)
    view = without_layers(dense, REMOVED)
    logits(view)
    view.base_model.register_forward_hook(lambda *_: None)
    view.register_buffer("more", torch.zeros(1))
    assert dense.config.to_dict() == settings
    assert snapshot(dense) == modules
    assert torch.equal(logits(dense), full)


def test_a_view_shares_blocks_and_parameters(dense: PreTrainedModel) -> None:
    view = without_layers(dense, REMOVED)
    assert type(view) is type(dense)
    kept = [layer for layer in range(DEPTH) if layer not in REMOVED]
    assert [*blocks(view)] == [blocks(dense)[layer] for layer in kept]
    assert {*map(id, view.parameters())} <= {*map(id, dense.parameters())}
    assert view.get_output_embeddings() is dense.get_output_embeddings()
    assert not view.training


def test_every_module_on_the_path_reads_the_configuration_of_the_view(dense: PreTrainedModel) -> None:
    view = without_layers(dense, REMOVED)
    assert depth(view.config) == DEPTH - len(REMOVED)
    if "qwen" in dense.config.model_type:
        assert view.config.layer_types == [SLIDING, FULL, SLIDING]
    path = block_path(dense).split(".")
    for end in range(len(path)):
        module: Any = view.get_submodule(".".join(path[:end]))
        assert module.config is view.config
        assert module is not dense.get_submodule(".".join(path[:end]))


def test_a_view_of_a_view_counts_layers_in_the_view(dense: PreTrainedModel) -> None:
    nested = without_layers(without_layers(dense, [0, 5]), [1])
    assert torch.equal(logits(nested), logits(without_layers(dense, REMOVED)))


def test_threads_can_use_views_of_one_model_at_once(dense: PreTrainedModel) -> None:
    sets = [[layer] for layer in range(DEPTH)] + [[1, 2, 3], [0, 4, 5]]
    expected = [logits(prune(dense, removed)) for removed in sets]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = list(pool.map(lambda removed: logits(without_layers(dense, removed)), sets))
            assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_blocks_stand_in_the_order_of_their_layer_numbers(tiny_llama: PreTrainedModel) -> None:
    full = blocks(tiny_llama)
    view = with_blocks(tiny_llama, {4: full[1], 0: full[3]})
    assert [*blocks(view)] == [full[3], full[1]]


def test_a_rule_by_index_is_refused(tiny: Any) -> None:
    with pytest.raises(ValueError, match="gpt2: the field scale_attn_by_inverse_layer_idx"):
        without_layers(tiny("gpt2", 3, scale_attn_by_inverse_layer_idx=True), [0])


def test_a_shallow_copy_is_changed_apart() -> None:
    module = nn.Linear(2, 2)
    twin = shallow_copy(module)
    assert twin.weight is module.weight
    twin.bias = None
    twin.more = nn.Identity()
    twin.register_forward_hook(lambda *_: None)
    assert module.bias is not None
    assert not [*module.children()]
    assert not module._forward_hooks
