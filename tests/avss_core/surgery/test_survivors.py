import math
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from avss_core.surgery.pruning import prune
from avss_core.surgery.survivors import check_survivors, check_tensors


class Block(nn.Module):
    def __init__(
        self, number: int, *, kind: str = "full", mask: float = 0.0, index: str = "layer_idx"
    ) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.inner.kind = kind
        setattr(self.inner, index, number)
        self.register_buffer("mask", torch.tensor(mask), persistent=False)


OLD = nn.ModuleList(
    Block(number, kind="odd" if number % 2 else "even", mask=number % 2) for number in range(4)
)


def test_the_same_blocks_under_new_numbers_are_the_same() -> None:
    new = nn.ModuleList([Block(0, kind="odd", mask=1), Block(1, kind="odd", mask=1)])
    new.train(False)
    check_survivors(OLD, new, [1, 3])


@pytest.mark.parametrize(
    ("block", "name"),
    [
        (Block(1, kind="even", mask=1), "kind"),
        (Block(1, kind="odd", mask=0), "mask"),
        (Block(3, kind="odd", mask=1), "layer_idx"),
        (Block(1, kind="odd", mask=1, index="place"), "(layer_idx|place)"),
    ],
)
def test_another_block_is_refused_with_what_differs(block: nn.Module, name: str) -> None:
    new = nn.ModuleList([Block(0, kind="odd", mask=1), block])
    with pytest.raises(ValueError, match=f"layer 3 would be another one as layer 1: {name} of "):
        check_survivors(OLD, new, [1, 3])


def test_another_class_is_refused() -> None:
    block = Block(0, kind="odd", mask=1)
    block.inner = nn.Identity()
    with pytest.raises(
        ValueError, match="layer 1 would be another one as layer 0: the class of inner depends"
    ):
        check_survivors(OLD, nn.ModuleList([block]), [1])


def test_tensors_are_compared_by_name_dtype_and_value() -> None:
    one = {"a": torch.tensor([1.0, math.nan]), "b": torch.ones(2)}
    check_tensors(one, dict(one))
    check_tensors({"b": torch.ones(2)}, {"b": torch.ones(2)})
    others = [
        {"a": one["a"]},
        one | {"c": one["b"]},
        one | {"b": torch.zeros(2)},
        one | {"b": one["b"].half()},
    ]
    for wrong in others:
        with pytest.raises(
            ValueError, match=r"of the pruned model are not those of the dense one: .'[bc]'.$"
        ):
            check_tensors(one, wrong)


def test_a_tensor_that_a_family_lets_a_load_leave_random_is_missed(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny("llama", 3)
    state = model.state_dict()
    del state["model.layers.2.mlp.up_proj.weight"]
    monkeypatch.setattr(model, "state_dict", lambda: state)
    monkeypatch.setattr(type(model), "_keys_to_ignore_on_load_missing", ["up_proj"])
    with pytest.raises(ValueError, match=r"not those of the dense one: .'model\.layers\.1\.mlp\.up_proj"):
        prune(model, [1])


@pytest.mark.filterwarnings("ignore:model type .* is not in:UserWarning")
def test_a_decay_computed_from_the_layer_s_number_is_refused() -> None:
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "vocab_size": 99,
    }
    config = AutoConfig.for_model(
        "minimax", num_hidden_layers=4, num_key_value_heads=2, head_dim=8, num_local_experts=2, **sizes
    )
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(ValueError, match=r"layer 3 would be another one as layer 2: .* of self_attn"):
        prune(model, [1])
