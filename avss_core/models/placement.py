"""Where a model's weights lie: on one device, spread by accelerate, or in parts on several processes."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import align_module_device
from torch import Tensor, nn

from avss_core.models.architectures import blocks

SPREAD = "spread"
"""The device that stands for all: GPUs first, then memory, then the checkpoint's files on disk."""

PATIENCE = timedelta(days=30)
"""How long processes wait for one that works alone; the launcher ends all of them if one dies."""


def process_place(*, cpu: bool = False) -> PartialState:
    """Return the place of this process among those that were launched together; the first call joins them.

    Args:
        cpu: whether the processes speak to each other through the CPU though there is another device.
    """
    return PartialState(cpu=cpu, timeout=PATIENCE)


def chosen_device(name: str | None) -> str:
    """Return the name of a device; for None the best one that is there: cuda, mps, else cpu.

    Processes that were launched together get one device of its kind each. Where they share the weights, a
    model is loaded into memory: from there each takes its part to its device.
    """
    best = torch.accelerator.current_accelerator(check_available=True)
    kind = "cpu" if best is None else best.type
    if name not in {None, kind}:
        return str(name)
    if name is None and shares_weights():
        return "cpu"
    launched = kind != "cpu" and torch.distributed.is_torchelastic_launched()
    return f"{kind}:{process_place().local_process_index}" if launched else kind


def shares_weights() -> bool:
    """Tell whether processes were launched together with a part of the weights each (`--use_fsdp`)."""
    together = torch.distributed.is_torchelastic_launched()
    return together and os.environ.get("ACCELERATE_USE_FSDP", "false") == "true"


def share_weights(model: Any, kept: Iterable[nn.Parameter] = ()) -> None:
    """Leave each process a part of the weights of every block, which is whole while it runs (FSDP2).

    What stands outside the blocks, and what is kept, is whole in every process. All of them call this, and
    from then on run the model equally often.

    Args:
        model: a causal language model or an encoder, the same in each process; changed in place.
        kept: parameters that are not shared.
    """
    # Here, since it takes half a second that every command would wait for.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    place = process_place()
    mesh = init_device_mesh(place.device.type, (place.num_processes,))
    ignored = set(kept)
    for block in blocks(model):
        fully_shard(block, mesh=mesh, reshard_after_forward=True, ignored_params=ignored)
    for tensor in (*model.parameters(), *model.buffers()):
        if not isinstance(tensor, DTensor):
            tensor.data = tensor.data.to(place.device)


def whole_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with those whole that processes hold in parts; all processes ask together."""
    parts: dict[str, Any] = {name: each for name, each in tensors.items() if hasattr(each, "full_tensor")}
    return {**tensors, **{name: each.full_tensor() for name, each in parts.items()}}


def main_device(device: str) -> torch.device:
    """Return the torch device of a name; for `SPREAD` the one that offloaded layers run on."""
    return torch.device(chosen_device(None if device == SPREAD else device))


def computes_in_bfloat16(device: str) -> bool:
    """Tell whether a device has instructions for bfloat16; without them it is many times slower.

    Args:
        device: a torch device, or `spread`.
    """
    if device == SPREAD:
        return torch.cuda.is_available() and bool(torch.cuda.is_bf16_supported())
    if torch.device(device).type == "cpu":
        return any(
            able is True for name, able in torch.cpu.get_capabilities().items() if name.endswith("bf16")
        )
    return bool(torch.cuda.is_bf16_supported())


def input_device(model: nn.Module) -> torch.device:
    """Return where a model expects its token ids, which need not be where its first weights lie."""
    execution = getattr(getattr(model, "_hf_hook", None), "execution_device", None)
    return next(model.parameters()).device if execution is None else torch.device(execution)


def is_spread(model: nn.Module) -> bool:
    """Tell whether the weights of a model are on more than one device, or not all in memory."""
    places = set(getattr(model, "hf_device_map", {}).values())
    return len(places) > 1 or "disk" in places


@contextmanager
def weights_at_hand(module: nn.Module) -> Iterator[None]:
    """Hold the weights of a module in memory, for code that reads them and does not call the module."""
    with align_module_device(module):
        yield


def refuse_spread(model: Any, what: str) -> None:
    """Refuse a model that is spread over devices: weights that come and go cannot be trained.

    Raises:
        ValueError: the model is spread.
    """
    if is_spread(model):
        places = sorted({str(place) for place in model.hf_device_map.values()})
        raise ValueError(
            f"{what} needs all weights on one device, and model.device: spread has spread them over "
            f"{', '.join(places)}; set model.device to a GPU that holds the model, or to cpu"
        )
