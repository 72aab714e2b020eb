"""The answer of a model to a fixed prompt: logits, and a greedy continuation with and without the cache."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from avss_core.models.architectures import architecture_of, blocks, context_length, window

_PROBE_TOKENS = 48
_NEW_TOKENS = 8


class Continuation(NamedTuple):
    """Tokens that follow the probe prompt, and the logits by which each was chosen."""

    tokens: list[int]
    logits: Float[Tensor, "tokens vocab"]


def probe_prompt(model: PreTrainedModel) -> Int[Tensor, "1 seq"]:
    """Return fixed token ids, longer than the model's sliding window if the context allows."""
    config: Any = model.config
    reach = window(config)
    room = (context_length(config) or 4096) - _NEW_TOKENS
    length = max(2, min(max(_PROBE_TOKENS, reach + 16 if reach <= 1024 else 0), room))
    generator = torch.Generator().manual_seed(0)
    return torch.randint(int(config.vocab_size), (1, length), generator=generator)


def probe_logits(model: PreTrainedModel) -> list[float]:
    """Return up to 256 evenly spaced logits of the probe prompt's last position.

    A classifier gives those of its classes, a model without a head its last hidden state.
    """
    options = {"use_cache": False} if architecture_of(model).causal else {}
    with torch.inference_mode():
        result = model(probe_prompt(model).to(model.device), **options)
    logits: Tensor = result.logits if hasattr(result, "logits") else result.last_hidden_state
    last: Float[Tensor, " vocab"] = logits[0].reshape(-1, logits.shape[-1])[-1]
    return last[:: max(1, len(last) // 256)].float().tolist()


def greedy(model: PreTrainedModel, *, cached: bool) -> Continuation:
    """Return the greedy continuation of the probe prompt, with or without the key/value cache."""
    ids = probe_prompt(model).to(model.device)
    start, cache, step = ids.shape[1], None, ids
    seen: list[Tensor] = []
    with torch.no_grad():  # in inference mode the tensors of `in_float32` could not be put back
        for _ in range(_NEW_TOKENS):
            result = model(step, cache=cache, use_cache=cached)
            seen.append(result.logits[:, -1])
            token = seen[-1].argmax(-1, keepdim=True)
            ids = torch.cat([ids, token], 1)
            cache, step = (result.cache, token) if cached else (None, ids)
    return Continuation(ids[0, start:].tolist(), torch.cat(seen).float())


@contextmanager
def in_float32(model: PreTrainedModel) -> Iterator[None]:
    """Make a model compute in float32, one block at a time; afterwards its own tensors are back.

    Extra memory: float32 copies of the largest block and of what is outside the blocks.
    """
    layers = [*blocks(model)]
    inside = {id(tensor) for block in layers for tensor in _tensors(block)}
    own: dict[Tensor, Tensor] = {}

    def widen(tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            if tensor.dtype.is_floating_point and tensor.dtype != torch.float32:
                own[tensor] = tensor.data
                tensor.data = tensor.data.float()

    def restore(tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            if tensor in own:
                tensor.data = own.pop(tensor)

    with ExitStack() as stack:
        stack.callback(lambda: restore([*own]))
        widen(tensor for tensor in _tensors(model) if id(tensor) not in inside)
        for block in layers:
            before = block.register_forward_pre_hook(lambda block, _args: widen(_tensors(block)))
            stack.callback(before.remove)
            after = block.register_forward_hook(lambda block, _args, _result: restore(_tensors(block)))
            stack.callback(after.remove)
        yield


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield the parameters and buffers of a module."""
    yield from module.parameters()
    yield from module.buffers()
