import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from avss_core.models.activations import SITES, Seen, at_site, observed


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_hooks_are_gone_after_use_after_an_error_and_without_a_forward_pass(
    tiny_model: PreTrainedModel,
) -> None:
    seen: list[int] = []

    def visit(index: int, _seen: Seen) -> None:
        seen.append(index)
        if len(seen) > 8:
            raise RuntimeError("stop in the second pass")

    ids = torch.tensor([[1, 2, 3]])
    before = hooks(tiny_model)
    with observed(tiny_model, visit):
        assert hooks(tiny_model) == before + 6
    with observed(tiny_model, visit, SITES):
        assert hooks(tiny_model) == before + 6 * 4
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


def test_what_a_block_showed_is_let_go_of(tiny_model: PreTrainedModel) -> None:
    shown: list[set[str]] = []
    with observed(tiny_model, lambda _index, seen: shown.append(set(seen)), ["update", "mlp"]):
        tiny_model(torch.tensor([[1, 2, 3]]))
    assert shown == [{"input", "output", "mlp"}] * 6


def test_a_site_whose_module_was_not_called_is_named() -> None:
    with pytest.raises(ValueError, match="site mlp_act: its module was not called"):
        at_site("mlp_act", {"input": torch.zeros(1, 1, 2), "output": torch.zeros(1, 1, 2)})
