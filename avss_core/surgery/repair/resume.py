"""Run some blocks of a model on stored hidden states, and keep such states on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from avss_core.models.activations import run_blocks
from avss_core.models.architectures import blocks
from avss_core.models.batches import Batch
from avss_core.models.views import shallow_copy, with_blocks

State = Float[Tensor, "batch seq hidden"]


class Span:
    """Consecutive blocks of a model, run alone: on given hidden states, or from the embedding.

    Each block gets the masks and positions that the whole model would give it. Copies of the blocks carry the
    hooks, so that the model itself is left as it is and other threads may run it.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int], watch: Sequence[str] = ()) -> None:
        """Prepare to run blocks.

        Args:
            model: stays as it is.
            layers: numbers of the blocks, ascending, at least one.
            watch: paths of modules inside the last block, of which the inputs are kept.
        """
        full = blocks(model)
        copies = {layer: shallow_copy(full[layer]) for layer in layers}
        self._state: State | None = None
        self._outputs: dict[int, State] = {}
        self._watched: dict[str, Tensor] = {}
        copies[layers[0]].register_forward_pre_hook(self._feed, with_kwargs=True)
        for layer, block in copies.items():
            block.register_forward_hook(self._keep(layer))
        for path in watch:
            copy_along(copies[layers[-1]], path).register_forward_pre_hook(self._see(path))
        self._last, self._view = layers[-1], with_blocks(model, copies)

    def run(self, batch: Batch, state: State | None) -> dict[int, State]:
        """Return each block's output, by its number.

        Args:
            batch: what the states are of.
            state: what the first block reads; None for the model's embedding.
        """
        self._state = state
        self._watched.clear()
        run_blocks(self._view, batch)
        found, self._outputs, self._state = self._outputs, {}, None
        return found

    def seen(self, path: str, like: State) -> Float[Tensor, "batch seq features"]:
        """Return what a watched module read in the last run, as [batch, seq, features].

        Raises:
            ValueError: the module was not called.
        """
        if path not in self._watched:
            raise ValueError(f"{path} was not called; the model runs its block in another way")
        rows = self._watched[path]
        return rows.view(*like.shape[:-1], rows.shape[-1])

    def _feed(self, _block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._state is None:
            return None
        if args:
            return (self._state, *args[1:]), kwargs
        return args, kwargs | {"hidden_states": self._state}

    def _keep(self, layer: int) -> Callable[..., None]:
        def hook(_block: nn.Module, _args: Any, result: Any) -> None:
            self._outputs[layer] = result[0] if isinstance(result, tuple) else result

        return hook

    def _see(self, path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            self._watched[path] = args[0]

        return hook


def copy_along(module: nn.Module, path: str) -> nn.Module:
    """Put shallow copies in the place of the modules along a path, and return the last of them."""
    for step in path.split("."):
        child = shallow_copy(module.get_submodule(step))
        setattr(module, step, child)
        module = child
    return module


class Spool:
    """One hidden state for each batch, in a memory-mapped file: memory does not grow with the tokens."""

    def __init__(self, path: Path, batches: Sequence[Batch]) -> None:
        """Prepare an empty spool.

        Args:
            path: file that is made, of tokens x hidden numbers in the model's dtype.
            batches: what the states will be of.
        """
        self._path, self._places = path, [0]
        for batch in batches:
            self._places.append(self._places[-1] + batch.ids.numel())
        self._rows: Tensor | None = None
        self._shapes = [batch.ids.shape for batch in batches]
        self._device = torch.device("cpu")

    def write(self, index: int, state: State) -> None:
        """Keep the state of a batch in the place of the one before."""
        if self._rows is None:
            size = self._places[-1] * state.shape[-1]
            flat = torch.from_file(str(self._path), shared=True, size=size, dtype=state.dtype)
            self._rows, self._device = flat.view(-1, state.shape[-1]), state.device
        self._rows[self._places[index] : self._places[index + 1]] = state.flatten(0, 1).cpu()

    def read(self, index: int) -> State:
        """Return a copy of the state of a batch, on the device that it came from."""
        if self._rows is None:
            raise ValueError("the spool is empty")
        rows = self._rows[self._places[index] : self._places[index + 1]]
        return rows.view(*self._shapes[index], -1).to(self._device, copy=True)
