"""How many sequences go through a model at a time where memory decides: the batch size `auto`."""

import ctypes
import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary

import psutil
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import nn

from avss_core.models.placement import input_device

BatchSize = int | Literal["auto"]
"""Sequences at a time; `auto`: as many as the free memory holds, half of them whenever it did not."""

Result = TypeVar("Result")

_SHARE = 0.5
"""Share of the free memory for a batch: the count below leaves out what a library holds meanwhile."""

_MOST = {"cpu": 32}
"""Most sequences at a time by kind of device: more are no faster."""

_LOG = logging.getLogger(__name__)

_HALVED: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
"""How often memory was too small for a model: what is chosen for it later is halved as often."""

_MMAP_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -4, -3, -1
"""What glibc's mallopt calls its settings."""


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Keep the memory of freed tensors for the next ones, and give it back at the end.

    glibc asks the system for the pages of each large tensor and returns them when it is freed, so that every
    step of a training has them zeroed again: up to a third of its time. The process holds up to a third more
    memory. Nothing changes on another device than a CPU and with another library than glibc.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        yield
        return
    library = ctypes.CDLL(None)
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        for setting, default in (
            (_MMAP_MAX, 1 << 16),
            (_MMAP_THRESHOLD, 1 << 25),
            (_TRIM_THRESHOLD, 1 << 26),
        ):
            library.mallopt(setting, default)
        library.malloc_trim(0)


def free_bytes(device: torch.device) -> int:
    """Return the bytes of memory that are free on a device."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + int(unused)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory())
    return int(psutil.virtual_memory().available)


def sequence_bytes(model: nn.Module, tokens: int, *, trained: bool = False) -> int:
    """Return about how many bytes a sequence takes in a pass: keys and values twice, states, scores, logits.

    Args:
        model: a causal language model or an encoder.
        tokens: length of the sequence.
        trained: the states of every layer are kept for the gradient.
    """
    config: Any = model.config
    hidden, layers = int(config.hidden_size), int(config.num_hidden_layers)
    heads = int(config.num_attention_heads)
    inner = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    keys = int(getattr(config, "num_key_value_heads", None) or heads)
    width = int(getattr(config, "head_dim", None) or hidden // heads)
    states = 4 * tokens * (12 * hidden + 4 * inner + heads * tokens)
    cache = 4 * layers * keys * width * tokens * next(model.parameters()).element_size()
    logits = 12 * int(config.vocab_size)
    return states * (layers if trained else 1) + cache + logits * (min(tokens, 256) if trained else 1)


def batch_size_of(model: nn.Module, size: BatchSize, tokens: int, *, trained: bool = False) -> int:
    """Return the number of sequences at a time: the given one, or for `auto` what the free memory holds."""
    if size != "auto":
        return size
    device = input_device(model)
    held = _SHARE * free_bytes(device) / sequence_bytes(model, max(1, tokens), trained=trained)
    most = min(int(held), _MOST.get(device.type, 256))
    return max(1, most >> _HALVED.get(model, 0))


def with_room(model: nn.Module, size: BatchSize, tokens: int, work: Callable[[int], Result]) -> Result:
    """Return what some work gives for a batch size; with `auto` half of it if memory is too small.

    Raises:
        RuntimeError: memory is too small for one sequence, or for the given number of them.
    """
    while True:
        chosen = batch_size_of(model, size, tokens)
        try:
            return work(chosen)
        except Exception as error:
            halve(model, size, chosen, error)


class FittingBatches:
    """The batches of a loop over sequences: indices of sequences of similar length, the shortest first.

    Each is worked on in `tried()`. With `auto` a batch for which memory is too small comes again in halves.
    """

    def __init__(self, model: nn.Module, sequences: Sequence[Sequence[Any]], size: BatchSize) -> None:
        self._model, self._asked = model, size
        longest = max(map(len, sequences), default=1)
        self._size = batch_size_of(model, size, longest)
        self._left = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
        self._now: list[int] = []

    def __iter__(self) -> Iterator[list[int]]:
        """Yield batches until each sequence has been in one that did not fail."""
        while self._left:
            self._now, self._left = self._left[: self._size], self._left[self._size :]
            yield self._now

    @contextmanager
    def tried(self) -> Iterator[None]:
        """Take the last batch back if memory is too small; nothing may be kept of it before the end."""
        try:
            yield
        except Exception as error:
            halve(self._model, self._asked, len(self._now), error)
            self._size, self._left = max(1, len(self._now) // 2), [*self._now, *self._left]


def halve(model: nn.Module, size: BatchSize, tried: int, error: Exception) -> None:
    """Note that memory was too small for a model, and say so.

    Args:
        model: the model.
        size: the batch size that was asked for.
        tried: sequences that were too many.
        error: what was raised; again if it is another error, the size is given, or nothing is left to halve.
    """
    if size != "auto" or tried < 2 or not should_reduce_batch_size(error):
        raise error
    _HALVED[model] = _HALVED.get(model, 0) + 1
    clear_device_cache(garbage_collection=True)
    _LOG.warning("memory is too small for %d sequences at a time; going on with %d", tried, tried // 2)
