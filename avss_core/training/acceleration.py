"""The accelerator of one training: its mixed precision, gradients and clipping."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

_SHARED: tuple[Any, ...] = (PartialState, AcceleratorState, GradientState)
"""What all accelerators of a process share; a second one of other settings is refused."""


@contextmanager
def accelerator(device: torch.device, autocast: bool) -> Iterator[Accelerator]:
    """Yield an accelerator of its own, and put back what the process had before.

    Args:
        device: where the model lies; it stays there.
        autocast: compute in bfloat16 where the device can; the weights keep their number type.
    """
    on_cpu = device.type == "cpu"
    bf16 = autocast and (on_cpu or torch.cuda.is_bf16_supported())
    before = [dict(state._shared_state) for state in _SHARED]
    try:
        for state in _SHARED:
            state._shared_state.clear()
        yield Accelerator(cpu=on_cpu, mixed_precision="bf16" if bf16 else "no", device_placement=False)
    finally:
        for state, values in zip(_SHARED, before, strict=True):
            state._shared_state.clear()
            state._shared_state.update(values)
