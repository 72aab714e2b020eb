"""How far a trained model has moved from the one that it was trained from: a cached unit."""

from pathlib import Path
from typing import Any

from avss_core.models.batches import token_stream
from avss_core.training.divergence import text_divergence
from tasks.cache.loaded_model import model_at
from tasks.cache.units import unit
from tasks.data.rows import read_documents
from tasks.progress.steps import progress


@unit("divergence")
def divergence(
    base: Path, model: Path, text: Path, *, dtype: str, device: str, tokens: int, window: int
) -> dict[str, Any]:
    """Return the KL divergence of a model from the one that it was trained from, on the test text."""
    # The base comes first, so that the model stays in memory for what else is measured of it.
    network, tokenizer = model_at(base, dtype, device)
    trained, _ = model_at(model, dtype, device)
    ids = token_stream(tokenizer, read_documents(text), tokens + 1)
    with progress("divergence from the base", max(1, len(ids) - 1) // window, "windows") as advance:
        means = text_divergence(network, trained, ids, window=window, progress=advance)
    return {"tokens": len(ids) - 1, "window": window, "window_means": list(means)}
