"""Masked-language modelling: the loss of hidden words, each word hidden once."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.evaluation.perplexity import LanguageModelling
from avss_core.models.architectures import context_length, first_position, reads_both_ways
from avss_core.models.batches import pad
from avss_core.models.encoding import frame
from avss_core.models.placement import input_device
from avss_core.progress import Progress, no_progress

EVERY = 7
"""One token of so many is hidden at a time: the 15 % of Devlin et al. 2019, arXiv 1810.04805."""


def hidden_places(length: int, turn: int) -> list[int]:
    """Return the places that are hidden in a sequence with one token around it at either end.

    Over `EVERY` turns in a row each place between the ends is hidden once. Where a turn hides none, since the
    sequence is short, its middle is hidden.

    Example:
        >>> hidden_places(12, 0), hidden_places(12, 1), hidden_places(5, 6)
        ([1, 8], [2, 9], [2])
    """
    return [*range(1 + turn % EVERY, length - 1, EVERY)] or [length // 2]


def hides_words(model: PreTrainedModel) -> bool:
    """Tell whether a model is an encoder with a head over its vocabulary."""
    whole: Any = model
    return reads_both_ways(model.config) and whole.get_output_embeddings() is not None


@torch.inference_mode()
def masked_modelling(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    text: str,
    *,
    window: int = 128,
    batch_size: int = 7,
    progress: Progress = no_progress,
) -> LanguageModelling:
    """Return the loss of each token where it is hidden from an encoder, in nats; each token is hidden once.

    The stream is cut into windows, each read between the tokens around every text. In turn t of `EVERY`, the
    places t, t + `EVERY` ... of a window are replaced by the mask, all at once, and predicted from the rest.

    Source: the pseudo-log-likelihood of Salazar et al. 2020, arXiv 1910.14659. Our reading: `EVERY` turns in
    place of one a token, so that the cost does not grow with the window.

    Args:
        model: an encoder with a head over its vocabulary.
        tokenizer: its tokenizer.
        ids: the token stream, without the tokens around a text.
        text: the text that the ids encode, for the counts of words and bytes.
        window: tokens a window, with those around it.
        batch_size: hidden versions of windows a batch.
        progress: called with the hidden versions of each finished batch.

    Raises:
        ValueError: the model has no head over its vocabulary or is no encoder, there is no token, or the loss
            is not a finite number.
    """
    around = frame(tokenizer)
    if around is None or not hides_words(model):
        raise ValueError(
            f"{type(model).__name__} predicts no hidden word: give an encoder with a head over its words"
        )
    if not ids:
        raise ValueError("a text of 0 tokens has nothing to predict; give more text")
    room = min(window, context_length(model.config) or window) - sum(map(len, around))
    before = len(around[0])
    pieces = [list(ids[i : i + room]) for i in range(0, len(ids), room)]
    turns = [
        (number, range(turn, len(piece), EVERY))
        for number, piece in enumerate(pieces)
        for turn in range(min(EVERY, len(piece)))
    ]
    sums = [0.0] * len(pieces)
    for start in range(0, len(turns), batch_size):
        part = turns[start : start + batch_size]
        shown = []
        for number, places in part:
            own = pieces[number].copy()
            for place in places:
                own[place] = int(tokenizer.mask_token_id)
            shown.append([*around[0], *own, *around[1]])
        inputs = pad(shown).inputs(input_device(model), first_position(model.config))
        logits = model(**{name: value for name, value in inputs.items() if name != "use_cache"}).logits
        for row, (number, places) in enumerate(part):
            wanted = torch.tensor([pieces[number][place] for place in places], device=logits.device)
            seen = logits[row, [before + place for place in places]].double()
            sums[number] += float(cross_entropy(seen, wanted, reduction="sum"))
        progress(len(part))
    if not math.isfinite(sum(sums)):
        raise ValueError("the loss is not a finite number; load the model in float32 or check its weights")
    means = tuple(total / len(piece) for total, piece in zip(sums, pieces, strict=True))
    return LanguageModelling(
        sum(sums), len(ids), max(1, len(text.split())), max(1, len(text.encode())), means
    )
