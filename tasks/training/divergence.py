"""How far training moved a model from its base: a cached unit."""

from pathlib import Path
from typing import TypedDict

from avss_core.caching.loaded_model import model_at
from avss_core.data.rows import read_documents
from avss_core.display.steps import progress
from avss_core.models.batches import token_stream
from avss_core.training.divergence import text_divergence
from tasks.cache.units import unit


class WindowDivergence(TypedDict):
    """KL divergence of a trained model from its base."""

    tokens: int
    window: int
    """Tokens of a window."""
    window_means: list[float]
    """Mean of each window, in nats a token."""


@unit("divergence")
def divergence(
    base: Path, model: Path, text: Path, *, dtype: str, device: str, tokens: int, window: int
) -> WindowDivergence:
    """Return the KL divergence of a trained model from its base on each window of a text."""
    # The base is loaded first, so that the trained model stays in memory for the evaluation that follows.
    network, tokenizer = model_at(base, dtype, device)
    trained, _ = model_at(model, dtype, device)
    ids = token_stream(tokenizer, read_documents(text), tokens + 1)
    with progress("divergence from the base", max(1, len(ids) - 1) // window, "windows") as advance:
        means = text_divergence(network, trained, ids, window=window, progress=advance)
    return {"tokens": len(ids) - 1, "window": window, "window_means": list(means)}
