"""Remove layers: a new model in which everything that depends on depth follows."""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from transformers import PretrainedConfig, PreTrainedModel

from avss_core.models.architectures import block_path, depth
from avss_core.models.configuration import kept_layers, pruned_config
from avss_core.models.layers import check_layers
from avss_core.surgery.survivors import check_survivors, check_tensors

_Item = TypeVar("_Item")


def pruned_state(state: Mapping[str, _Item], path: str, kept: Sequence[int]) -> dict[str, _Item]:
    """Return the tensors that stay, with blocks renumbered; nothing is copied.

    Args:
        state: tensors by name, or anything that stands for them.
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
        LookupError: the family is not known, and its list of blocks cannot be found.
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
    problems = {kind: sorted(map(str, names)) for kind, names in loading.items() if names}
    if problems:
        raise ValueError(f"pruning {config.model_type} left tensors without a place or a source: {problems}")
    check_tensors(state, pruned.state_dict())
    check_survivors(model.get_submodule(path), pruned.get_submodule(path), kept)
    if getattr(model, "generation_config", None) is not None:  # encoders have none
        pruned.generation_config = copy.deepcopy(model.generation_config)
    result: PreTrainedModel = pruned.eval()
    return result
