"""Check that the layers that stay do what they did: what a family makes of a layer's number shows here."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

_INDEX = ("layer_id", "layer_idx", "layer_index", "layer_number")
_MODES = ("gradient_checkpointing", "training")
_PLAIN = (bool, int, float, str, type(None))


def check_survivors(old: nn.Module, new: nn.Module, kept: Sequence[int]) -> None:
    """Compare all that blocks hold besides parameters: classes, settings, and buffers that are not saved.

    Args:
        old: list of the blocks of the dense model.
        new: list of the blocks of the pruned model.
        kept: old numbers of the layers that stay.

    Raises:
        ValueError: a layer is of another kind than it was, or is not numbered by its new place.
    """
    sources, found = [*old.children()], [*new.children()]
    for place, (number, block) in enumerate(zip(kept, found, strict=True)):
        parts = dict(block.named_modules())
        for path, source in sources[number].named_modules():
            name = _difference(source, parts.get(path), number, place)
            if name:
                where = path or type(source).__name__
                raise ValueError(
                    f"layer {number} would be another one as layer {place}: {name} of {where} "
                    "depends on its number or on the depth; this model is refused"
                )


def _difference(old: nn.Module, new: nn.Module | None, number: int, place: int) -> str:
    """Return the name of what differs between a module and its new version; empty for nothing."""
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
        if name not in buffers or not torch.equal(tensor, buffers[name].to(tensor.device)):
            return name
    return ""


def _settings(module: nn.Module) -> dict[str, Any]:
    """Return the plain values that a module keeps as its own attributes."""
    return {
        name: value
        for name, value in vars(module).items()
        if name not in _MODES and not name.startswith("_") and isinstance(value, _PLAIN)
    }
