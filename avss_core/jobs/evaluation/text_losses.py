"""The loss of a model on the test text, as a cached unit."""

from pathlib import Path
from typing import Any

from avss_core.caching.loaded_model import model_at
from avss_core.caching.unit import unit
from avss_core.data.rows import read_documents
from avss_core.display.steps import progress
from avss_core.evaluation.perplexity import language_modelling
from avss_core.models.batches import token_stream


@unit("language-modelling")
def text_loss(
    model: Path, text: Path, *, dtype: str, device: str, tokens: int, window: int, stride: int | None
) -> dict[str, Any]:
    """Return the loss and the perplexities of the test text.

    With a stride below the window, the last `stride` tokens of each window are predicted behind the others.
    """
    network, tokenizer = model_at(model, dtype, device)
    stride = stride or window
    context = window - stride
    ids = token_stream(tokenizer, read_documents(text), tokens + context + 1)
    text_of = str(tokenizer.decode(ids[context + 1 :]))
    with progress("language modelling", max(0, len(ids) - 1 - context) // stride, "windows") as advance:
        loss = language_modelling(network, ids, text_of, window=stride, context=context, progress=advance)
    return {
        "nll": loss.nll_per_token,
        "tokens": loss.tokens,
        "window": window,
        "stride": stride,
        "window_means": list(loss.window_means),
        **loss.perplexities(),
    }
