"""Measure the loss without one layer more, on the text that layers are scored on."""

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avss_core.caching.content import content_digest
from avss_core.caching.loaded_model import model_at
from avss_core.caching.unit import unit
from avss_core.data.rows import read_documents
from avss_core.display.steps import progress
from avss_core.models.batches import token_stream
from avss_core.scores.traversal import LayerInputs, layer_inputs, loss_without

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
