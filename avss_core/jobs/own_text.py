"""Text that a model writes for repair and healing to read; a cached unit."""

import random
from pathlib import Path

from avss_core.caching.loaded_model import model_at
from avss_core.caching.unit import unit
from avss_core.data.rows import read_documents
from avss_core.display.steps import working
from avss_core.models.batches import token_stream
from avss_core.models.encoding import opening_tokens
from avss_core.training.drawn_text import drawn_text

AT_ONCE = 64
"""Windows that are written at a time, and kept together."""

BEGINNINGS = 4096
"""Tokens of the calibration text among which the first one of each window is drawn."""


@unit("own-text")
def own_text(
    model: Path, text: Path, *, dtype: str, device: str, window: int, part: int, seed: int
) -> list[list[int]]:
    """Return `AT_ONCE` windows of token ids that a model draws.

    Args:
        model: a checkpoint folder.
        text: documents; each window begins with a token of theirs, behind those that the tokenizer puts in
            front of every text.
        dtype: of the model.
        device: of the model.
        window: tokens a window.
        part: which windows of all.
        seed: of the draws.
    """
    network, tokenizer = model_at(model, dtype, device)
    first = token_stream(tokenizer, read_documents(text), BEGINNINGS)
    chosen = random.Random(f"{seed} {part}").choices(first, k=AT_ONCE)
    opening = tuple(opening_tokens(tokenizer))
    with working(f"the dense model writes {AT_ONCE * window:,} tokens"):
        written = drawn_text(network, [(*opening, token) for token in chosen], window, seed + part)
    return [list(ids) for ids in written]
