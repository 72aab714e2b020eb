"""Token batches: what goes through a model, and which positions count."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from avss_core.models.encoding import encode, frame, text_tokens


@dataclass(frozen=True)
class Batch:
    """Padded token ids with the positions that are real and those whose activations count."""

    ids: Int[Tensor, "batch seq"]
    attention: Bool[Tensor, "batch seq"]
    counted: Bool[Tensor, "batch seq"]
    first_sample: int = 0
    """Index of the batch's first sample, so that an error can name a sample."""

    @property
    def tokens(self) -> int:
        """Return the number of real tokens."""
        return int(self.attention.sum())

    def inputs(self, device: torch.device, first_position: int = 0) -> dict[str, Any]:
        """Return the keyword arguments of a forward pass without a cache."""
        positions = (self.attention.cumsum(1) - 1).clamp(min=0) + first_position
        return {
            "input_ids": self.ids.to(device),
            "attention_mask": self.attention.to(device).long(),
            "position_ids": positions.to(device),
            "use_cache": False,
        }


def token_stream(
    tokenizer: PreTrainedTokenizerBase, documents: Iterable[str], limit: int, *, encoder: bool = False
) -> list[int]:
    """Return at most `limit` token ids of the documents, joined by a blank line.

    Documents without text are left out. The tokens that the tokenizer puts in front of every text stand once
    in front of the first; nothing stands behind a document. For an encoder they stand nowhere: `text_batches`
    puts each window between them. The model says whether it is one: some causal models have the tokenizer of
    an encoder.

    Raises:
        ValueError: the documents hold no text.
    """
    ids: list[int] = []
    framed = encoder and frame(tokenizer) is not None
    for document in filter(str.strip, documents):
        ids += (text_tokens if ids or framed else encode)(tokenizer, document + "\n\n")
        if len(ids) >= limit:
            break
    if not ids:
        raise ValueError("the text source holds no text: give at least one document that is not empty")
    return ids[:limit]


def windows(
    ids: Sequence[int], window: int, batch_size: int, skip_first: bool = True, first_sample: int = 0
) -> Iterator[Batch]:
    """Yield batches of consecutive windows of a token stream; a shorter last window is right-padded.

    Args:
        ids: one token stream.
        window: tokens a window.
        batch_size: windows a batch.
        skip_first: leave the first position of each window out of `counted`. It holds the massive
            activations that dominate every variance (Sun et al. 2024, arXiv 2402.17762).
        first_sample: number of the first window, if the stream is a part of a longer one.
    """
    pieces = [list(ids[i : i + window]) for i in range(0, len(ids), window)]
    for start in range(0, len(pieces), batch_size):
        yield pad(pieces[start : start + batch_size], skip=int(skip_first), first_sample=first_sample + start)


def text_batches(
    tokenizer: PreTrainedTokenizerBase,
    documents: Iterable[str],
    *,
    tokens: int,
    window: int,
    batch_size: int,
    skip_first: bool = True,
    part: int = 0,
    parts: int = 1,
    encoder: bool = False,
) -> list[Batch]:
    """Return the batches of the windows of a text, or of one part of it: a run of consecutive windows.

    An encoder reads each window between the tokens that its tokenizer puts around every text, and all of them
    count: a head may read the first position alone, so `skip_first` does not apply.

    Args:
        tokenizer: of the model.
        documents: as in `token_stream`.
        tokens: of the text, at most.
        window: as in `windows`, with the tokens around it.
        batch_size: as in `windows`.
        skip_first: as in `windows`.
        part: number of the part, from 0.
        parts: number of parts; if there are more parts than windows, some are empty.
        encoder: whether an encoder reads them.

    Raises:
        ValueError: the documents hold no text, or the window is shorter than what stands around a text.
    """
    ids = token_stream(tokenizer, documents, tokens, encoder=encoder)
    around = frame(tokenizer) if encoder else None
    room = window - (0 if around is None else sum(map(len, around)))
    if room < 1:
        raise ValueError(f"a window of {window} tokens has no room for text: the tokens around it fill it")
    count = -(-len(ids) // room)
    first, last = (count * end // parts for end in (part, part + 1))
    own = ids[first * room : last * room]
    if around is None:
        return list(windows(own, room, batch_size, skip_first, first_sample=first))
    framed = [[*around[0], *own[i : i + room], *around[1]] for i in range(0, len(own), room)]
    return [
        pad(framed[i : i + batch_size], first_sample=first + i) for i in range(0, len(framed), batch_size)
    ]


def pad(
    sequences: Sequence[Sequence[int]],
    *,
    left: bool = False,
    skip: int = 0,
    fill: int = 0,
    first_sample: int = 0,
) -> Batch:
    """Return one batch of unequal sequences, padded to the longest.

    Args:
        sequences: token ids, none empty.
        left: pad on the left, as generation needs.
        skip: leading real positions of each sequence that do not count.
        fill: token id at padded positions; any value gives the same result, since they are masked.
        first_sample: index of the first sequence in its data set.
    """
    width = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), width), fill)
    attention = torch.zeros(len(sequences), width, dtype=torch.bool)
    counted = torch.zeros_like(attention)
    for row, sequence in enumerate(sequences):
        start = width - len(sequence) if left else 0
        stop = start + len(sequence)
        ids[row, start:stop] = torch.tensor(sequence)
        attention[row, start:stop] = True
        counted[row, start + skip : stop] = True
    return Batch(ids, attention, counted, first_sample)


def by_length(sequences: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Yield the indices of sequences of similar length together."""
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
