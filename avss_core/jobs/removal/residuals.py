"""Measure what a repair leaves open without each layer, on the text that layers are scored on."""

from pathlib import Path
from typing import Any

from avss_core.caching.loaded_model import model_at
from avss_core.caching.unit import unit
from avss_core.data.rows import read_documents
from avss_core.display.steps import progress
from avss_core.models.architectures import depth
from avss_core.models.batches import text_batches
from avss_core.models.room import BatchSize, with_room
from avss_core.scores.repairability import layer_residuals


@unit("repair-residuals")
def repair_residuals(
    model: Path,
    text: Path,
    *,
    dtype: str,
    device: str,
    tokens: int,
    window: int,
    batch_size: BatchSize,
) -> list[dict[str, Any]]:
    """Return, for each layer, what a refit of the block before it leaves of its update, window by window."""
    network, tokenizer = model_at(model, dtype, device)

    def measured(size: int) -> list[dict[str, Any]]:
        batches = text_batches(
            tokenizer,
            read_documents(text),
            tokens=tokens,
            window=window,
            batch_size=size,
        )
        count = depth(network.config) * sum(len(batch.ids) for batch in batches)
        with progress("what a repair leaves without each layer", count, "windows through a block") as advance:
            left = layer_residuals(network, batches, progress=advance)
        return [
            {"layer": each.layer, "residuals": list(each.residuals), "outputs": list(each.outputs)}
            for each in left
        ]

    return with_room(network, batch_size, window, measured)
