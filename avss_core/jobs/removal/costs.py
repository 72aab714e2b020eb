"""Measure what a whole choice of layers costs, on text behind the part that was scored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.caching.loaded_model import model_at
from avss_core.caching.unit import unit
from avss_core.data.rows import read_documents
from avss_core.display.steps import progress
from avss_core.evaluation.perplexity import language_modelling
from avss_core.jobs.job_records import Cost
from avss_core.models.batches import token_stream
from avss_core.models.views import without_layers


@unit("removal-cost")
def removal_cost(
    model: Path,
    text: Path,
    removed: Sequence[int],
    *,
    dtype: str,
    device: str,
    skip: int,
    tokens: int,
    window: int,
    said: str = "cost of removed layers",
) -> dict[str, Any]:
    """Return the loss without some layers on calibration text behind the part that was scored."""
    network, tokenizer = model_at(model, dtype, device)
    pruned = without_layers(network, removed) if removed else network
    return {**held_out_cost(pruned, tokenizer, text, skip=skip, tokens=tokens, window=window, said=said)}


def held_out_cost(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    text: Path,
    *,
    skip: int,
    tokens: int,
    window: int,
    said: str,
) -> Cost:
    """Return the loss of a model on calibration text behind the part that was scored.

    Args:
        model: any that has this tokenizer.
        tokenizer: of the model.
        text: the calibration text.
        skip: tokens of the part that was scored.
        tokens: behind them, at most.
        window: tokens that the model reads at a time.
        said: shown while this works.

    Raises:
        ValueError: the text has no token left, or the loss is not a finite number.
    """
    ids = token_stream(tokenizer, read_documents(text), skip + tokens)[skip:]
    if len(ids) < 2:
        raise ValueError(
            f"the calibration text has no token left behind the {skip} that were scored; "
            "lower collect.tokens or give more text"
        )
    with progress(said, len(ids) // window, "windows") as advance:
        loss = language_modelling(model, ids, str(tokenizer.decode(ids)), window=window, progress=advance)
    return {"nll": loss.nll_per_token, "tokens": loss.tokens, "window_means": list(loss.window_means)}
