"""Prompts that start alike: their shared tokens run once, and the keys and values serve every batch."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from avss_core.models.architectures import context_length, depth
from avss_core.models.batches import Batch
from avss_core.models.placement import input_device


def shared_prefix(sequences: Sequence[Sequence[int]], keep: int = 1) -> int:
    """Return how many leading tokens all sequences share, with at least `keep` tokens left in each."""
    ordered = sorted(map(list, sequences))
    pairs = zip(ordered[0], ordered[-1], strict=False)
    differs = (place for place, (first, last) in enumerate(pairs) if first != last)
    room = min(map(len, ordered)) - keep
    return max(0, min(room, next(differs, room)))


def check_room(model: PreTrainedModel, sequences: Sequence[Sequence[int]], new_tokens: int) -> None:
    """Check that every sequence and its new tokens fit the model's context.

    Raises:
        ValueError: the longest does not.
    """
    longest, room = max(map(len, sequences), default=0), context_length(model.config)
    if room is not None and longest + new_tokens > room:
        raise ValueError(
            f"a prompt of {longest} tokens and {new_tokens} new ones do not fit the model's "
            f"{room} positions; use fewer demonstrations (evaluate.shots)"
        )


class SharedPrompt:
    """The leading tokens that all sequences share, run once."""

    def __init__(
        self,
        model: PreTrainedModel,
        sequences: Sequence[Sequence[int]],
        *,
        new_tokens: int = 0,
        at_most: int | None = None,
    ) -> None:
        """Run the shared tokens.

        Args:
            model: a causal language model.
            sequences: token ids of every prompt, none empty.
            new_tokens: most tokens that are read after a prompt.
            at_most: leave the tokens from this place on to the batches.
        """
        slides = _slides(model, max(map(len, sequences)) + new_tokens)
        shared = 0 if slides else shared_prefix(sequences)
        self.length = shared if at_most is None else min(shared, at_most)
        self._model, self._new_tokens = model, new_tokens
        self._cache = _run(model, sequences[0][: self.length])

    def rows(self, batch: Batch) -> "Rows":
        """Return a row for each of a batch, which has read the shared tokens alone."""
        count, width = batch.ids.shape
        cache = copy.copy(self._cache)
        room = self.length + width + self._new_tokens
        cache.layers = [_repeated(layer, count, room) for layer in self._cache.layers]
        return Rows(self._model, cache, torch.ones(count, self.length, dtype=torch.bool))


class Rows:
    """Sequences that a model reads side by side, a piece at a time."""

    def __init__(self, model: PreTrainedModel, cache: DynamicCache, mask: Bool[Tensor, "batch read"]) -> None:
        self._model, self._cache, self._mask = model, cache, mask

    def feed(
        self, ids: Int[Tensor, "batch seq"], real: Bool[Tensor, "batch seq"], keep: int
    ) -> Float[Tensor, "batch kept vocab"]:
        """Read a piece and return the float32 logits at its last `keep` positions."""
        self._mask = torch.cat([self._mask, real], 1)
        positions = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        device = input_device(self._model)
        logits: Tensor = self._model(
            ids.to(device),
            attention_mask=self._mask.to(device).long(),
            position_ids=positions.to(device),
            cache=self._cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits
        return logits.float()

    def keep(self, places: Sequence[int]) -> None:
        """Keep only some rows, given in rising order."""
        chosen = torch.tensor(places)
        self._mask = self._mask[chosen]
        self._cache.batch_select_indices(chosen.to(input_device(self._model)))

    def copies(self, places: Sequence[int], new_tokens: int, model: PreTrainedModel | None = None) -> "Rows":
        """Return the rows at places, each as often as it is named, with room to read new tokens.

        Args:
            places: which rows.
            new_tokens: most tokens that the copies read.
            model: a view of the model's leading blocks that reads on; None for the model itself.
        """
        chosen, reader = torch.tensor(places), model or self._model
        cache = copy.copy(self._cache)
        on_device = chosen.to(input_device(reader))
        known = self._cache.layers[: depth(reader.config)]
        cache.layers = [_copied(layer, on_device, new_tokens) for layer in known]
        return Rows(reader, cache, self._mask[chosen])


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values in memory that is allocated once, so that a new token copies no earlier ones."""

    def __init__(self, shared: DynamicLayer, rows: int, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rows, self._room, self._filled = rows, room, 0
        self._whole: tuple[Tensor, ...] = ()
        self._shared = shared.get_seq_length()
        if self._shared and shared.keys is not None and shared.values is not None:
            # One row is written to all by broadcasting.
            self.update(shared.keys, shared.values)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate the memory."""
        super().lazy_initialization(key_states, value_states)
        self._whole = tuple(
            new.new_empty(self._rows, new.shape[1], self._room, new.shape[3])
            for new in (key_states, value_states)
        )

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: object, **_kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new keys and values behind the others, and return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self._filled = self._filled, self._filled + key_states.shape[2]
        for whole, new in zip(self._whole, (key_states, value_states), strict=True):
            whole[:, :, start : self._filled] = new
        return self._show()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep some rows, in rising order; the shared tokens stay where they are."""
        own = slice(self._shared, self._filled)
        for whole in self._whole:
            whole[: len(indices), :, own] = whole[indices.to(whole.device), :, own]
        self._whole = tuple(whole[: len(indices)] for whole in self._whole)
        self._show()

    def copied(self, rows: Tensor, new_tokens: int) -> "RoomyLayer":
        """Return a layer with the named rows, each as often as it is named, and room for new tokens."""
        layer = copy.copy(self)
        layer._rows, layer._room = len(rows), self._filled + new_tokens
        layer._whole = tuple(
            whole.new_empty(len(rows), whole.shape[1], layer._room, whole.shape[3]) for whole in self._whole
        )
        for whole, held in zip(layer._whole, self._whole, strict=True):
            torch.index_select(
                held[:, :, : self._filled], 0, rows.to(held.device), out=whole[:, :, : self._filled]
            )
        if self._whole:
            layer._show()
        return layer

    def _show(self) -> tuple[Tensor, Tensor]:
        """Return the filled part of the memory, and let the layer hold it."""
        keys, values = (whole[:, :, : self._filled] for whole in self._whole)
        self.keys, self.values = keys, values
        return keys, values


def _repeated(layer: Any, rows: int, room: int) -> Any:
    """Return a layer's keys and values for each row."""
    if type(layer) is DynamicLayer:
        return RoomyLayer(layer, rows, room)
    copied = copy.deepcopy(layer)
    if layer.get_seq_length():
        copied.batch_repeat_interleave(rows)
    return copied


def _copied(layer: Any, rows: Tensor, new_tokens: int) -> Any:
    """Return a layer with some rows of another, which stays as it is."""
    if type(layer) is RoomyLayer:
        return layer.copied(rows, new_tokens)
    copied = copy.deepcopy(layer)
    copied.batch_select_indices(rows)
    return copied


def _slides(model: PreTrainedModel, length: int) -> bool:
    """Return whether a layer's attention window is shorter than a sequence.

    The window counts padded places too, so padding must not stand between a prefix and its question.
    """
    windows = [layer.get_max_length() for layer in DynamicCache(config=model.config).layers]
    # The windows of GPT-Neo are masks in its layers, unknown to the cache.
    windows.append(getattr(model.config, "window_size", None) or 0)
    return any(0 < window < length for window in windows)


def _run(model: PreTrainedModel, ids: Sequence[int]) -> DynamicCache:
    """Return the keys and values of the shared tokens (an empty cache without tokens)."""
    cache = DynamicCache(config=model.config)
    if ids:
        with torch.inference_mode():
            model(
                torch.tensor([ids], device=input_device(model)), cache=cache, use_cache=True, logits_to_keep=1
            )
    return cache
