"""The processes that share a training: each runs its part of a step's batches, and all add up the gradients.

`accelerate launch` (or torchrun) starts them, each with a device of its own. Every process holds the whole
model; what goes between them are the gradients of the adapters and the numbers of the record.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor, distributed

from avss_core.models.placement import process_place, shares_weights

Item = TypeVar("Item")
Made = TypeVar("Made")


class Processes:
    """The place of this process among those of a training; one process alone does all the work."""

    def __init__(self, *, cpu: bool = False) -> None:
        """Join the other processes if they were launched together.

        Args:
            cpu: whether the model lies on the CPU, through which the processes then speak to each other.
        """
        self.number, self.count = 0, 1
        self.share_weights = shares_weights()
        """Whether each holds a part of the weights, so that all run the model equally often."""
        if distributed.is_torchelastic_launched():
            state = process_place(cpu=cpu and not (self.share_weights and torch.accelerator.is_available()))
            self.number, self.count = state.process_index, state.num_processes

    def own(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return the part of some items that falls to this process."""
        return items[self.number :: self.count]

    def turns(self, items: Sequence[Item]) -> list[tuple[Item, bool]]:
        """Return the part of this process, each with whether it counts.

        Where weights are shared a process with fewer items takes the first one once more, which does not
        count there.
        """
        own = [(item, True) for item in self.own(items)]
        fewer = self.share_weights and len(own) * self.count < len(items)
        return [*own, (items[0], False)] if fewer else own

    def once(self, work: Callable[[], Made]) -> Made:
        """Let the first process alone do some work, and return in each what it made.

        Raises:
            SystemExit: the work failed, in the processes that wait for it; the first one says why.
        """
        if self.count == 1:
            return work()
        told: list[Any] = [None]
        if self.number == 0:
            try:
                told = [(work(),)]
            except Exception:  # whatever it is, the others must not wait for it
                broadcast_object_list(told)
                raise
        broadcast_object_list(told)
        if told[0] is None:
            raise SystemExit(1)
        made: Made = told[0][0]
        return made

    def gathered(self, items: list[Any]) -> list[Any]:
        """Return the items of all processes, in the same order in each."""
        return items if self.count == 1 else list(gather_object(items))

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Give each parameter the sum of its gradients over the processes."""
        if self.count == 1:
            return
        held = list(parameters)
        parts = [torch.zeros_like(each) if each.grad is None else each.grad for each in held]
        flat = torch.cat([part.flatten() for part in parts])
        distributed.all_reduce(flat)
        sizes = [part.numel() for part in parts]
        for each, part in zip(held, torch.split(flat, sizes), strict=True):
            each.grad = part.view_as(each)

    @torch.no_grad()
    def agree(self, tensors: Iterable[Tensor], *state: object) -> None:
        """Give tensors their values in the first process.

        Raises:
            ValueError: the processes start from another state.
        """
        if self.count == 1:
            return
        states = self.gathered([state])
        if any(each != states[0] for each in states):
            raise ValueError(
                f"the {self.count} processes of this training read different checkpoints of it ({states}): "
                "they need one file system"
            )
        for tensor in tensors:
            distributed.broadcast(tensor, 0)

    def refuse_too_many(self, batches: int) -> None:
        """Raise ValueError if a step has fewer batches than there are processes."""
        if batches < self.count:
            raise ValueError(
                f"{self.count} processes share the batches of a step, and a step has {batches}: set "
                f"accumulate to {self.count} or a multiple of it"
            )


def leads() -> bool:
    """Tell whether this process writes and prints what the processes of a training made together."""
    return not distributed.is_torchelastic_launched() or process_place().is_main_process
