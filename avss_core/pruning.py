"""Choose layers and remove them: a new model in which everything that depends on depth follows."""

import copy
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel

from avss_core.architectures import block_path, depth
from avss_core.configuration import kept_layers, pruned_config
from avss_core.ranking import rank
from avss_core.survivors import check_survivors, check_tensors

_Item = TypeVar("_Item")


def count_to_remove(layers: int, ratio: float) -> int:
    """Return how many layers a ratio removes: rounded down, at least one, never all.

    Raises:
        ValueError: there are fewer than two layers, or the ratio does not lie between 0 and 1.

    Example:
        >>> count_to_remove(30, 0.25), count_to_remove(3, 0.25)
        (7, 1)
    """
    if layers < 2:
        raise ValueError(f"the model has {layers} layer; removing layers needs a model with at least 2")
    if not 0 < ratio < 1:
        raise ValueError(f"ratio {ratio} does not lie between 0 and 1 (0.25 removes a quarter of the layers)")
    # The margin lets 0.3 of 10 be 3, which binary fractions put just below.
    return min(max(1, math.floor(layers * ratio + 1e-9)), layers - 1)


def choose_layers(
    scores: Float[Tensor, " layers"], ratio: float, *, protect_first: int = 0, protect_last: int = 0
) -> list[int]:
    """Return the layers to remove, lowest score first chosen, in depth order; ties go by index.

    Args:
        scores: one per layer, lowest is pruned first.
        ratio: share of the layers to remove.
        protect_first: leading layers that stay.
        protect_last: trailing layers that stay.

    Raises:
        ValueError: the protected layers leave too few to remove.

    Example:
        >>> choose_layers(torch.tensor([3.0, 1.0, 2.0, 1.0]), 0.5)
        [1, 3]
    """
    layers = len(scores)
    count = count_to_remove(layers, ratio)
    free = [layer for layer in rank(scores) if protect_first <= layer < layers - protect_last]
    if len(free) < count:
        raise ValueError(
            f"{count} of {layers} layers shall go, but protecting {protect_first} first and "
            f"{protect_last} last layers leaves {len(free)}"
        )
    return sorted(free[:count])


def check_layers(removed: Sequence[int], layers: int) -> list[int]:
    """Return the numbers of layers to remove in depth order.

    Raises:
        ValueError: none or all layers are named, a number is out of range, or one is repeated.
    """
    if not removed:
        raise ValueError("no layer to remove was named")
    if len(known_layers(removed, layers)) == layers:
        raise ValueError(f"all {layers} layers shall go; at least one must stay")
    return sorted(removed)


def known_layers(named: Sequence[int], layers: int) -> list[int]:
    """Return layer numbers in depth order, once each.

    Raises:
        ValueError: a number is out of range, or one is repeated.
    """
    for layer in named:
        if not 0 <= layer < layers:
            raise ValueError(f"layer {layer} does not exist: the model has layers 0 to {layers - 1}")
    if len(set(named)) < len(named):
        raise ValueError(f"a layer is named twice in {sorted(named)}")
    return sorted(named)


def pruned_state(state: Mapping[str, _Item], path: str, kept: Sequence[int]) -> dict[str, _Item]:
    """Return the tensors that stay, with blocks renumbered; nothing is copied.

    Args:
        state: tensors by name, or what stands for them.
        path: dotted path of the list of blocks.
        kept: old numbers of the layers that stay.
    """
    new_number = {old: new for new, old in enumerate(kept)}
    pattern = re.compile(re.escape(path) + r"\.(\d+)\.(.+)")
    result = {}
    for name, tensor in state.items():
        match = pattern.fullmatch(name)
        if match is None:
            result[name] = tensor
        elif int(match[1]) in new_number:
            result[f"{path}.{new_number[int(match[1])]}.{match[2]}"] = tensor
    return result


def prune(model: PreTrainedModel, removed: Sequence[int]) -> PreTrainedModel:
    """Return a new model without some layers; it shares the kept tensors with the old one.

    Raises:
        ValueError: the layer numbers do not fit the model, its configuration cannot follow, a tensor of the
            new model has no source, or a layer that stays would be of another kind than it was.
        LookupError: the family is not known, and its list of blocks cannot be told.
    """
    config: PretrainedConfig = model.config
    removed = check_layers(removed, depth(config))
    kept = kept_layers(depth(config), removed)
    path = block_path(model)
    state = pruned_state(model.state_dict(), path, kept)
    loaded: Any = type(model).from_pretrained(
        None,
        config=pruned_config(config, removed),
        state_dict=state,
        output_loading_info=True,
        dtype=model.dtype,
    )
    pruned, loading = loaded
    problems = {kind: sorted(map(str, found)) for kind, found in loading.items() if found}
    if problems:
        raise ValueError(f"pruning {config.model_type} left tensors without a place or a source: {problems}")
    check_tensors(state, pruned.state_dict())
    check_survivors(model.get_submodule(path), pruned.get_submodule(path), kept)
    if getattr(model, "generation_config", None) is not None:  # encoders have none
        pruned.generation_config = copy.deepcopy(model.generation_config)
    result: PreTrainedModel = pruned.eval()
    return result


def parameter_count(model: nn.Module) -> int:
    """Return the number of parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def parameter_bytes(model: nn.Module) -> int:
    """Return the bytes of all parameters, tied ones once."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def as_tensor(values: Sequence[float]) -> Float[Tensor, " layers"]:
    """Return scores read from a record as float64."""
    return torch.tensor(values, dtype=torch.float64)
