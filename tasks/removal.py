"""Measure what removing layers costs: one layer more, unit by unit, and a whole choice on text of its own."""

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avss_core.evaluation.perplexity import language_modelling
from avss_core.models.batches import token_stream
from avss_core.models.views import without_layers
from avss_core.scores.traversal import LayerInputs, layer_inputs, loss_without
from tasks.cache.loaded_model import model_at
from tasks.cache.units import content_digest, unit
from tasks.data.rows import read_documents
from tasks.progress.steps import progress

_ONE_AT_A_TIME = threading.Lock()


@unit("removal-loss")
def removal_loss(
    model: Path,
    text: Path,
    layer: int,
    removed: Sequence[int],
    *,
    dtype: str,
    device: str,
    tokens: int,
    window: int,
    context: int,
) -> dict[str, Any]:
    """Return the loss on the first tokens of a text when one more layer is removed."""
    network, _ = model_at(model, dtype, device)
    # Units in several threads wait for the pass that they share, and do not make it again.
    with _ONE_AT_A_TIME:
        inputs = _inputs(
            str(model), content_digest(model), str(text), content_digest(text), tuple(removed),
            dtype, device, tokens, window, context,
        )  # fmt: skip
    loss = loss_without(network, inputs, layer)
    return {"layer": layer, "nll": loss.nll_per_token, "window_means": list(loss.window_means)}


@functools.lru_cache(maxsize=1)
def _inputs(
    model: str,
    _model_digest: str,
    text: str,
    _text_digest: str,
    removed: tuple[int, ...],
    dtype: str,
    device: str,
    tokens: int,
    window: int,
    context: int,
) -> LayerInputs:
    """Return what each layer reads; the inputs for the last base set stay in memory."""
    network, tokenizer = model_at(Path(model), dtype, device)
    ids = token_stream(tokenizer, read_documents(Path(text)), tokens)
    said = f"inputs of all layers, {len(removed)} removed"
    with progress(said, (len(ids) - context) // window, "windows") as advance:
        return layer_inputs(
            network,
            ids,
            str(tokenizer.decode(ids)),
            window=window,
            context=context,
            removed=removed,
            progress=advance,
        )


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
    ids = token_stream(tokenizer, read_documents(text), skip + tokens)[skip:]
    if len(ids) < 2:
        raise ValueError(
            f"the calibration text has no token left behind the {skip} that were scored; "
            "lower collect.tokens or give more text"
        )
    pruned = without_layers(network, removed) if removed else network
    with progress(said, len(ids) // window, "windows") as advance:
        loss = language_modelling(pruned, ids, str(tokenizer.decode(ids)), window=window, progress=advance)
    return {"nll": loss.nll_per_token, "tokens": loss.tokens, "window_means": list(loss.window_means)}
