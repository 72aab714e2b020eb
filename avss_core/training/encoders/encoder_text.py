"""The texts that a pruned encoder is repaired and healed on: running text, and reviews one by one."""

import random
from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from avss_core.models.encoding import encode_whole, frame
from avss_core.training.frozen_prefix import Ids
from avss_core.training.healing_text import Shares, Sources, Windows, text_windows
from avss_core.training.history import WindowCounts


def encoder_windows(
    tokenizer: PreTrainedTokenizerBase,
    sources: Sources,
    shares: Shares,
    *,
    tokens: int,
    window: int,
    seed: int,
) -> Windows:
    """Return texts of about so many tokens, each between the tokens that an encoder reads around it.

    Text is cut into consecutive windows; reviews come in random order, each alone and once. An encoder
    answers no question, so the share of questions goes to the two others.

    Args:
        tokenizer: of an encoder.
        sources: text and reviews.
        shares: shares of the kinds.
        tokens: tokens of all texts together.
        window: most tokens of a text; the end of a longer review is cut.
        seed: seed of the order of reviews.

    Raises:
        ValueError: the shares of text and reviews are both 0, or the tokenizer is not an encoder's.
    """
    around = frame(tokenizer)
    if around is None:
        raise ValueError("the tokenizer has no [CLS], [SEP] and [MASK] tokens: it is not an encoder's")
    wanted = replace(shares, questions=0.0, own_text=0.0).of(tokens)
    room = window - sum(map(len, around))
    text = [(*around[0], *ids, *around[1]) for ids in text_windows(sources.text[: wanted["text"]], room)]
    reviews = list(sources.reviews)
    random.Random(f"{seed} reviews").shuffle(reviews)
    read: list[Ids] = []
    left = wanted["reviews"]
    for review, _ in reviews:
        if left <= 0:
            break
        read.append(tuple(encode_whole(tokenizer, review, window)))
        left -= len(read[-1])
    counts = {
        kind: _counts(own, wanted[kind])
        for kind, own in (("text", text), ("questions", []), ("reviews", read))
    }
    return Windows((*text, *read), counts, {})


def _counts(windows: Sequence[Ids], wanted: int) -> WindowCounts:
    """Return what was written of what was asked for."""
    return {"windows": len(windows), "tokens": sum(map(len, windows)), "wanted": wanted, "too_long": 0}
