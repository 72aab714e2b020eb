from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from avss_core.models.architectures import blocks
from avss_core.models.families import DECODERS
from avss_core.training.lora import (
    adapter_size,
    adapter_tensors,
    equal_rank,
    merged,
    set_adapter_tensors,
    with_adapters,
)

LAYERS = [1, 3]


@pytest.fixture(scope="module", params=sorted(DECODERS))
def dense(request: pytest.FixtureRequest, tiny: Any) -> PreTrainedModel:
    model: PreTrainedModel = tiny(request.param, 4)
    return model


def numbers(names: Any) -> set[int]:
    return {next(int(part) for part in name.split(".") if part.isdigit()) for name in names}


def test_adapters_are_in_the_chosen_layers_alone_and_others_keep_their_bits(dense: PreTrainedModel) -> None:
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    adapted = with_adapters(dense, LAYERS, 3)
    tensors = adapter_tensors(adapted)
    assert numbers(tensors) == set(LAYERS)
    assert sum(tensor.numel() for tensor in tensors.values()) == adapter_size(dense, LAYERS, 3)
    set_adapter_tensors(adapted, {name: torch.full_like(tensor, 0.1) for name, tensor in tensors.items()})
    after = merged(adapted).state_dict()
    assert after.keys() == before.keys()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert numbers(changed) == set(LAYERS)
    for layer in LAYERS:  # every linear map, and nothing else
        for name, tensor in blocks(dense)[layer].state_dict().items():
            linear = name.endswith("weight") and tensor.ndim == 2
            assert any(c.endswith(f".{layer}.{name}") for c in changed) == linear, name
    assert all(torch.equal(tensor, dense.state_dict()[name]) for name, tensor in before.items())


def test_what_is_not_trained_is_shared_and_the_model_stays_trainable(tiny_model: PreTrainedModel) -> None:
    adapted = with_adapters(tiny_model, [2], 2)
    own = {name: tensor.data_ptr() for name, tensor in tiny_model.named_parameters()}
    result = merged(adapted)
    for name, tensor in result.named_parameters():
        inside = numbers([name]) == {2} if any(part.isdigit() for part in name.split(".")) else False
        assert (tensor.data_ptr() == own[name]) != inside, name
    assert all(parameter.requires_grad for parameter in tiny_model.parameters())
    assert type(result) is type(tiny_model)
    assert result.get_output_embeddings().weight is result.get_input_embeddings().weight


def test_adapters_change_nothing_at_first(tiny_model: PreTrainedModel) -> None:
    state = merged(with_adapters(tiny_model, [0, 5], 2)).state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in tiny_model.state_dict().items())


def test_the_index_of_an_expert_is_no_layer_number(tiny_llama: PreTrainedModel, tiny: Any) -> None:
    model = tiny("llama", 4)
    experts = [torch.nn.ModuleDict({"up_proj": torch.nn.Linear(2, 2)}) for _ in range(4)]
    blocks(model)[0].experts = torch.nn.ModuleList(experts)
    names = adapter_tensors(with_adapters(model, [3], 2))
    assert names
    assert not any("experts" in name for name in names)


@pytest.mark.parametrize(
    ("layers", "message"),
    [([1, 6], r"layers \[6\] are not in a model of 6 layers"), ([], "no linear map to adapt: layers")],
)
def test_layers_that_match_nothing_are_refused(layers: Any, message: str, tiny_llama: Any) -> None:
    with pytest.raises(ValueError, match=message):
        with_adapters(tiny_llama, layers, 2)


def test_a_layer_without_a_linear_map_is_refused(tiny: Any) -> None:
    model = tiny("llama", 3)
    blocks(model)[1] = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"no linear map to adapt: layers \[1\] have none of q_proj, k_proj"):
        with_adapters(model, [0, 1], 2)


def test_the_size_of_a_hand_computed_case(tiny_llama: PreTrainedModel) -> None:
    # 32 hidden, 2 of 4 heads' keys and values (16), 64 in the MLP.
    maps = [(32, 32), (32, 16), (32, 16), (32, 32), (32, 64), (32, 64), (64, 32)]
    assert adapter_size(tiny_llama, [4], 1) == sum(a + b for a, b in maps)
    assert adapter_size(tiny_llama, [0, 4], 5) == 10 * sum(a + b for a, b in maps)


@pytest.mark.parametrize("layers", [[0], [1, 2], [0, 1, 2, 3, 4, 5]])
@pytest.mark.parametrize("budget", [1, 5000, 9999, 40_000])
def test_no_other_rank_is_nearer_to_the_budget(layers: Any, budget: int, tiny_model: Any) -> None:
    rank = equal_rank(tiny_model, layers, budget)

    def gap(tried: int) -> int:
        return abs(adapter_size(tiny_model, layers, tried) - budget)

    assert rank >= 1
    assert all(gap(rank) <= gap(other) for other in range(1, rank + 3))


def test_a_budget_of_nothing_is_refused(tiny_llama: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="a budget of 0 trained parameters"):
        equal_rank(tiny_llama, [0], 0)
