"""Views of a model: fewer or other blocks, the same parameters, and the model itself left as it is."""

import copy
from collections.abc import Mapping, Sequence
from functools import partial, update_wrapper
from types import MethodType
from typing import Any, TypeVar

from torch import nn
from transformers import PreTrainedModel

from avss_core.models.architectures import block_path, blocks
from avss_core.models.configuration import kept_layers, pruned_config
from avss_core.models.layers import check_layers

Module = TypeVar("Module", bound=nn.Module)


def sharing_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of a model with modules of its own and the same tensors."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


def without_layers(model: PreTrainedModel, removed: Sequence[int]) -> PreTrainedModel:
    """Return a view of a model without some layers, for forward passes without a cache.

    Cheaper than `prune` where only a loss is asked for: no tensor moves. The blocks are the model's own.

    Raises:
        ValueError: the layer numbers do not fit the model, or its configuration cannot follow.
    """
    full = blocks(model)
    kept = kept_layers(len(full), check_layers(removed, len(full)))
    return with_blocks(model, {layer: full[layer] for layer in kept})


def with_blocks(model: PreTrainedModel, chosen: Mapping[int, nn.Module]) -> PreTrainedModel:
    """Return a view of a model that has these blocks alone, for forward passes without a cache.

    The modules on the path to the blocks are shallow copies with a configuration of their own, all others are
    shared. So several threads can use several views of one model at once.

    Args:
        model: stays as it is.
        chosen: layer number -> block that stands in its place and is treated as of its kind (full or sliding
            attention). They run in the order of the layer numbers; layers that are not named are left out.

    Raises:
        ValueError: the configuration cannot follow.
    """
    dropped = [layer for layer in range(len(blocks(model))) if layer not in chosen]
    config: Any = pruned_config(model.config, dropped) if dropped else copy.deepcopy(model.config)
    config._attn_implementation = model.config._attn_implementation  # a runtime choice, so not written out
    view = module = shallow_copy(model)
    view.config = config
    *path, name = block_path(model).split(".")
    for step in path:
        child: Any = shallow_copy(module.get_submodule(step))
        child.config = config
        setattr(module, step, child)
        module = child
    setattr(module, name, nn.ModuleList(chosen[layer] for layer in sorted(chosen)))
    return view


def shallow_copy(module: Module) -> Module:
    """Return a module with the same parameters, buffers, children and hooks, which can be changed apart."""
    twin: Module = object.__new__(type(module))  # the class of a block whose weights are shared makes no twin
    own = vars(twin)
    own.update(vars(module))
    for name, value in own.items():
        if isinstance(value, dict):  # where `nn.Module` keeps parameters, buffers, children and hooks
            own[name] = value.copy()
    if "_old_forward" in own:
        # accelerate's hooks replace `forward` by one that runs the very module that it was made for.
        own["_old_forward"] = MethodType(own["_old_forward"].__func__, twin)
        around = own["forward"]
        own["forward"] = update_wrapper(partial(around.func, twin), own["_old_forward"])
    return twin
