"""Check that the layers that stay are what they were, whatever a family derives from their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_INDEX = ("layer_id", "layer_idx", "layer_index", "layer_number")
_MODES = ("gradient_checkpointing", "training")
_PLAIN = (bool, int, float, str, type(None))


def check_survivors(old: nn.Module, new: nn.Module, kept: Sequence[int]) -> None:
    """Compare what blocks hold besides parameters: classes, settings, and buffers that are not saved.

    In models without tensors, buffers are compared by name.

    Args:
        old: list of the blocks of the dense model.
        new: list of the blocks of the pruned model.
        kept: old numbers of the layers that stay.

    Raises:
        ValueError: a layer is of another kind than it was, or is not numbered by its new place.
    """
    sources, blocks = [*old.children()], [*new.children()]
    for place, (number, block) in enumerate(zip(kept, blocks, strict=True)):
        parts = dict(block.named_modules())
        for path, source in sources[number].named_modules():
            name = _difference(source, parts.get(path), number, place)
            if name:
                where = path or type(source).__name__
                raise ValueError(
                    f"layer {number} would be another one as layer {place}: {name} of {where} "
                    "depends on its number or on the depth; this model is refused"
                )


def check_tensors(wanted: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> None:
    """Compare stored tensors: some families declare tensors that a load silently leaves random.

    Args:
        wanted: tensors of the dense model under their new names.
        loaded: tensors of the pruned model.

    Raises:
        ValueError: a tensor is on one side alone, or its values or its dtype differ.
    """
    wrong = sorted(wanted.keys() ^ loaded.keys()) or [
        name for name in wanted if _differ(wanted[name], loaded[name])
    ]
    if wrong:
        raise ValueError(f"these tensors of the pruned model are not those of the dense one: {wrong[:3]}")


def _differ(wanted: Tensor, loaded: Tensor) -> bool:
    """Tell whether two tensors differ; those that share their memory are not read."""
    if wanted.dtype != loaded.dtype or wanted.shape != loaded.shape:
        return True
    shared = wanted.data_ptr() == loaded.data_ptr() and wanted.stride() == loaded.stride()
    return not shared and not torch.equal(wanted, loaded.to(wanted.device))


def _difference(old: nn.Module, new: nn.Module | None, number: int, place: int) -> str:
    """Return the name of what differs between a module and its new version; empty if nothing does."""
    if type(old) is not type(new) or new is None:
        return "the class"
    before, after = _settings(old), _settings(new)
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if name in _INDEX and isinstance(was, int):
            was += place - number
        if was != now:
            return name
    buffers = dict(new.named_buffers(recurse=False))
    for name, tensor in old.named_buffers(recurse=False):
        if name not in buffers or (
            not tensor.is_meta and not torch.equal(tensor, buffers[name].to(tensor.device))
        ):
            return name
    return ""


def _settings(module: nn.Module) -> dict[str, Any]:
    """Return the plain values that a module keeps as its own attributes."""
    return {
        name: value
        for name, value in vars(module).items()
        if name not in _MODES and not name.startswith("_") and isinstance(value, _PLAIN)
    }
