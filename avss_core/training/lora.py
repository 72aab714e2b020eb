"""LoRA adapters on chosen layers of a model, and the plain model that they merge into."""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from avss_core.models.architectures import architecture_of, block_path, blocks, depth, reads_both_ways


def with_adapters(model: PreTrainedModel, layers: Sequence[int], rank: int) -> Any:
    """Return a PEFT copy of a model with adapters on all linear maps of the chosen layers, and on no other.

    The tensors outside those layers are shared with the given model; no gradient reaches them. Dropout is
    off, even if the given model is in training mode.

    Args:
        model: a causal language model or an encoder; stays as it is.
        layers: layers that get adapters, numbered as in `model`.
        rank: rank of each adapter, whose update is scaled by 2.

    Raises:
        ValueError: no layer is named, the model lacks one, or one has no linear map.
    """
    names = _targets(model, layers)
    inside = {id(parameter) for layer in layers for parameter in blocks(model)[layer].parameters()}
    shared = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=False)
        for parameter in model.parameters()
        if id(parameter) not in inside
    }
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules="|".join(map(re.escape, names)),
        fan_in_fan_out=architecture_of(model).fan_in_fan_out,
        task_type="CAUSAL_LM" if architecture_of(model).causal else None,
    )
    return get_peft_model(copy.deepcopy(model, shared), config).eval()


def refuse_encoder(model: PreTrainedModel) -> None:
    """Raise ValueError for an encoder, to which a loss of the next token does not fit."""
    if reads_both_ways(model.config):
        raise ValueError(
            f"{model.config.model_type} is an encoder: it predicts no next token, so no loss here fits it; "
            "avss heal trains it by distillation"
        )


def adapter_tensors(adapted: Any) -> dict[str, nn.Parameter]:
    """Return the trained tensors by name."""
    return {name: tensor for name, tensor in adapted.named_parameters() if tensor.requires_grad}


def set_adapter_tensors(adapted: Any, values: Mapping[str, Tensor]) -> None:
    """Set the trained tensors to other values.

    Raises:
        KeyError: a value is missing.
    """
    with torch.no_grad():
        for name, tensor in adapter_tensors(adapted).items():
            tensor.copy_(values[name])


def merged(adapted: Any) -> PreTrainedModel:
    """Return the plain model with its adapters added to its weights; the adapted one is consumed."""
    model: PreTrainedModel = adapted.merge_and_unload().eval()
    return model


def tensors_outside(model: PreTrainedModel, layers: Sequence[int]) -> dict[str, Tensor]:
    """Return the tensors outside the chosen layers by name, which training leaves as they are."""
    inside = tuple(f"{block_path(model)}.{layer}." for layer in layers)
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(inside)}


def adapter_size(model: PreTrainedModel, layers: Sequence[int], rank: int) -> int:
    """Return the number of trained parameters: the rank times inputs plus outputs of every linear map.

    Raises:
        ValueError: as `with_adapters`.
    """
    weights = [model.get_submodule(name).weight for name in _targets(model, layers)]
    return rank * sum(sum(weight.shape) for weight in weights)  # type: ignore[arg-type, misc]


def equal_rank(model: PreTrainedModel, layers: Sequence[int], budget: int) -> int:
    """Return the rank, at least 1, at which adapters on these layers come nearest to a number of parameters.

    It gives choices of layers that differ in number or width an equal budget.

    Raises:
        ValueError: as `with_adapters`, or the budget is not positive.
    """
    if budget < 1:
        raise ValueError(f"a budget of {budget} trained parameters leaves nothing to train")
    return max(1, round(budget / adapter_size(model, layers, 1)))


def _targets(model: PreTrainedModel, layers: Sequence[int]) -> list[str]:
    """Return the full names of the linear maps in the chosen layers."""
    family = architecture_of(model)
    count = depth(model.config)
    strange = sorted(set(layers) - set(range(count)))
    if strange:
        raise ValueError(f"layers {strange} are not in a model of {count} layers, numbered from 0")
    names = {
        layer: [
            f"{block_path(model)}.{layer}.{name}"
            for name, module in blocks(model)[layer].named_modules()
            if name.rpartition(".")[2] in family.linear and getattr(module, "weight", None) is not None
        ]
        for layer in sorted(set(layers))
    }
    bare = [layer for layer, own in names.items() if not own]
    if bare or not names:
        raise ValueError(
            f"no linear map to adapt: layers {bare or list(layers)} have none of {', '.join(family.linear)}"
        )
    return [name for own in names.values() for name in own]
