"""The model that a student learns from: its hidden states and logits, or its likeliest words kept earlier."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from avss_core.files.digests import digest_json, digest_tensors
from avss_core.files.tensor_store import TensorStore
from avss_core.models.activations import Visitor
from avss_core.models.architectures import blocks
from avss_core.models.batches import Batch
from avss_core.models.placement import share_weights, shares_weights, whole_tensors
from avss_core.models.views import sharing_copy
from avss_core.training.distillation import TopLogits, top_logits
from avss_core.training.frozen_prefix import FrozenPrefix, Ids


class Teacher:
    """Runs a model without dropout and gradients, and leaves it as it is."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._run = FrozenPrefix(model)
        self._store: TensorStore | None = None
        self._shared = False

    @property
    def remembers(self) -> bool:
        """Whether its likeliest words are kept."""
        return self._store is not None

    @torch.no_grad()
    def ask(
        self, sequences: Sequence[Ids], visit: Visitor | None = None
    ) -> tuple[Batch, Float[Tensor, "batch seq hidden"]]:
        """Return the padded batch and the hidden states behind the final norm."""
        with self._judging():
            return self._run(sequences, visit)

    @torch.no_grad()
    def whole(self, sequences: Sequence[Ids]) -> Any:
        """Return all that the model puts out, with its head."""
        with self._judging():
            return self._run.whole(sequences)[1]

    @contextmanager
    def _judging(self) -> Iterator[None]:
        """Turn dropout off for a while."""
        was = self.model.training
        self.model.train(False)
        try:
            yield
        finally:
            self.model.train(was)

    @torch.no_grad()
    def logits(self, hidden: Float[Tensor, "tokens hidden"]) -> Float[Tensor, "tokens vocab"]:
        """Return the logits of hidden states behind the final norm."""
        return self._run.logits(hidden)

    @torch.no_grad()
    def remember(
        self,
        sequences: Sequence[Ids],
        store: TensorStore,
        *,
        top_k: int,
        temperature: float,
        batch_size: int,
        slice_tokens: int,
    ) -> None:
        """Keep the likeliest words at each token of each distinct sequence: tokens x `top_k` x 8 bytes.

        Args:
            sequences: token ids of each sequence.
            store: where the words are kept.
            top_k: words a token.
            temperature: divisor of the logits.
            batch_size: sequences a batch.
            slice_tokens: tokens whose logits are in memory at a time.
        """
        self._store = store
        distinct = [ids for ids in dict.fromkeys(sequences) if ("teacher", ids) not in store]
        for start in range(0, len(distinct), batch_size):
            part = distinct[start : start + batch_size]
            batch, hidden = self.ask(part)
            tokens = torch.split(hidden[batch.attention.to(hidden.device)], slice_tokens)
            tops = [top_logits(self.logits(cut), top_k, temperature) for cut in tokens]
            sizes = [len(ids) for ids in part]
            chances = torch.split(torch.cat([top.chances for top in tops]), sizes)
            words = torch.split(torch.cat([top.words for top in tops]), sizes)
            pieces = zip(part, chances, words, strict=True)
            store.put({("teacher", ids): {"chances": c, "words": w} for ids, c, w in pieces})

    def recall(self, sequences: Sequence[Ids], device: torch.device) -> TopLogits:
        """Return the kept words at all tokens of some sequences, concatenated.

        Raises:
            LookupError: `remember` has not run.
        """
        if self._store is None:
            raise LookupError("the teacher keeps no words: call `remember` first")
        tops = [self._store.get(("teacher", ids)) for ids in sequences]
        chances, words = (torch.cat([top[name] for top in tops]) for name in ("chances", "words"))
        return TopLogits(chances.to(device), words.to(device))

    def forget(self) -> None:
        """Run the model from now on; the store belongs to the caller."""
        self._store = None

    def digest(self) -> str:
        """Return a digest of the last block, by which another teacher is noticed."""
        last = whole_tensors(blocks(self.model)[-1].state_dict())
        return digest_json([self.model.config.model_type, digest_tensors(last)])

    def share_weights(self) -> None:
        """Let each process hold a part of a copy if they were launched so; the model stays whole."""
        if shares_weights() and not self._shared:
            self.model, self._shared = sharing_copy(self.model), True
            share_weights(self.model)
            self._run = FrozenPrefix(self.model)
