"""Run a model in training with the blocks below the first trained one cached for each sequence."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from avss_core.files.tensor_store import TensorStore
from avss_core.models.activations import Seen, Visitor, observed
from avss_core.models.architectures import ARCHITECTURES, blocks, first_position, reads_both_ways
from avss_core.models.batches import Batch, by_length, pad
from avss_core.models.placement import input_device
from avss_core.models.views import shallow_copy, with_blocks
from avss_core.progress import Progress, no_progress

Ids = tuple[int, ...]
"""The token ids of one sequence."""


class FrozenPrefix:
    """Runs sequences through a model from its first trained block on.

    The input of that block never changes, so it is kept for each distinct sequence, in the dtype of the
    hidden states: tokens x hidden numbers. A sequence that was not prepared runs through the whole model.
    """

    def __init__(self, model: PreTrainedModel, first: int = 0, store: TensorStore | None = None) -> None:
        """Take the model as it is; without a store, or with 0 frozen blocks, all of it runs at each step."""
        self.model, self.first = model, first
        self.store = store if first else None
        self.left = not reads_both_ways(model.config)
        """Whether sequences are padded on the left; an encoder's head reads the first position."""
        self._tuples = False

    @torch.no_grad()
    def prepare(self, sequences: Iterable[Ids], batch_size: int, progress: Progress = no_progress) -> None:
        """Run the frozen blocks on each distinct sequence once.

        The order and the batches depend on the sequences alone, so that a later run finds the same bits.

        Args:
            sequences: token ids of each sequence.
            batch_size: sequences a batch.
            progress: called with the number of sequences of each finished batch.

        Raises:
            ValueError: the model does not run its blocks one after another.
        """
        if self.store is None:
            return
        distinct = list(dict.fromkeys(ids for ids in sequences if ids not in self.store))
        for chosen in by_length(distinct, batch_size):
            part = [distinct[index] for index in chosen]
            batch = pad(part, left=self.left)
            states = zip(part, self._enter(batch), batch.attention, strict=True)
            self.store.put({ids: {"hidden": hidden[real.to(hidden.device)]} for ids, hidden, real in states})
            progress(len(part))

    def __call__(
        self, sequences: Sequence[Ids], visit: Visitor | None = None
    ) -> tuple[Batch, Float[Tensor, "batch seq hidden"]]:
        """Return the padded batch and the hidden states behind the final norm.

        Args:
            sequences: token ids of each row.
            visit: called after each block, from the first trained one on.
        """
        batch, model = self._fed(sequences)

        def trained(index: int, seen: Seen) -> None:
            if visit is not None and index >= self.first:
                visit(index, seen)

        with nullcontext() if visit is None else observed(model, trained):
            hidden: Tensor = model.base_model(**self._inputs(batch)).last_hidden_state
        return batch, hidden

    def whole(self, sequences: Sequence[Ids]) -> tuple[Batch, Any]:
        """Return the padded batch and all that the model puts out, with its head."""
        batch, model = self._fed(sequences)
        inputs = self._inputs(batch)
        inputs.pop("use_cache")  # which a head of an encoder does not take
        whole: Any = model
        return batch, whole(**inputs)

    def logits(self, hidden: Float[Tensor, "*rows hidden"]) -> Float[Tensor, "*rows vocab"]:
        """Return the logits of hidden states behind the final norm."""
        whole: Any = self.model
        logits: Tensor = whole.get_output_embeddings()(hidden)
        cap = getattr(whole.config, "final_logit_softcapping", None)
        return logits if cap is None else (logits / cap).tanh() * cap

    @torch.no_grad()
    def check_head(self, sequence: Ids) -> None:
        """Compare `logits` with the model's own on one sequence if the family is not known.

        Raises:
            ValueError: they differ, since the family changes the logits of its head.
        """
        if self.model.config.model_type in ARCHITECTURES:
            return
        whole: Any = self.model
        batch, hidden = self([sequence])
        own = whole(**self._inputs(batch)).logits
        if not torch.allclose(self.logits(hidden), own, rtol=1e-3, atol=1e-3):
            raise ValueError(
                f"model type {self.model.config.model_type!r} is not supported: its logits are not the "
                "output of its head. Add a record to avss_core/models/families.py."
            )

    def _inputs(self, batch: Batch) -> dict[str, Any]:
        return batch.inputs(input_device(self.model), first_position(self.model.config))

    def _fed(self, sequences: Sequence[Ids]) -> tuple[Batch, PreTrainedModel]:
        """Return the batch, and the model with stored states in the place of its frozen blocks."""
        batch, model = pad(sequences, left=self.left), self.model
        if self.store is None or not all(ids in self.store for ids in sequences):
            return batch, model
        states = [self.store.get(ids)["hidden"] for ids in sequences]
        hidden = states[0].new_zeros(*batch.ids.shape, states[0].shape[1])
        hidden[batch.attention.to(hidden.device)] = torch.cat(states)
        feed = _Feed(hidden.to(input_device(model)), self._tuples)
        return batch, _view(model, lambda layer, block: feed if layer < self.first else block)

    def _enter(self, batch: Batch) -> Float[Tensor, "batch seq hidden"]:
        """Return the input of the first trained block."""
        kinds: list[bool] = []

        def block_at(layer: int, block: nn.Module) -> nn.Module:
            if layer == self.first - 1:
                block = shallow_copy(block)
                block.register_forward_hook(lambda _block, _args, out: kinds.append(isinstance(out, tuple)))
            return _End() if layer == self.first else block

        try:
            _view(self.model, block_at).base_model(**self._inputs(batch))
        except _EnteredError as entered:
            self._tuples = kinds == [True]
            return entered.hidden
        raise ValueError(f"{self.model.config.model_type} does not run its block {self.first}")


def _view(model: PreTrainedModel, block_at: Callable[[int, nn.Module], nn.Module]) -> PreTrainedModel:
    """Return a view of a model with `block_at` applied to its blocks."""
    return with_blocks(model, {layer: block_at(layer, block) for layer, block in enumerate(blocks(model))})


class _EnteredError(Exception):
    """Stops a forward pass at the input of a block, and carries that input."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class _End(nn.Module):
    """Takes the place of the first trained block and ends the pass."""

    attention_type = "full_attention"  # by which some versions of transformers 5 choose a block's mask

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise _EnteredError(args[0] if args else kwargs["hidden_states"])


class _Feed(nn.Module):
    """Takes the place of the frozen blocks and returns the input of the first trained one."""

    attention_type = "full_attention"  # as above

    def __init__(self, states: Float[Tensor, "batch seq hidden"], as_tuples: bool) -> None:
        super().__init__()
        self.states, self.as_tuples = states, as_tuples

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        return (self.states, None) if self.as_tuples else self.states
