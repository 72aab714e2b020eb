"""Measure what a choice of layers costs once the blocks that are left are refitted in closed form."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from avss_core.caching.loaded_model import model_at
from avss_core.caching.unit import unit
from avss_core.data.rows import read_documents
from avss_core.display.steps import progress
from avss_core.jobs.removal.costs import held_out_cost
from avss_core.models.batches import text_batches
from avss_core.models.room import BatchSize, with_room
from avss_core.surgery.repair.outlets import UnrepairableError
from avss_core.surgery.repair.small_repair import repaired_without, small_passes


@unit("repaired-cost")
def repaired_cost(
    model: Path,
    text: Path,
    removed: Sequence[int],
    *,
    dtype: str,
    device: str,
    repair_tokens: int,
    repair_window: int,
    batch_size: BatchSize,
    skip: int,
    tokens: int,
    window: int,
    said: str = "cost after a repair",
) -> dict[str, Any]:
    """Return the loss without some layers after a repair, on the same text as `removal-cost`.

    The MLP's output projections of the blocks that are left are refitted on the first tokens of the
    calibration text, of the part that was scored.

    Returns:
        a `Cost` of `avss_core.jobs.job_records`, or `left_out` with the reason alone if the model cannot be
        repaired.
    """
    network, tokenizer = model_at(model, dtype, device)

    def repair(size: int) -> PreTrainedModel:
        batches = text_batches(
            tokenizer,
            read_documents(text),
            tokens=repair_tokens,
            window=repair_window,
            batch_size=size,
        )
        count = small_passes(network, removed) * sum(len(batch.ids) for batch in batches)
        with progress(said.replace("cost after a", "a", 1), count, "windows through a block") as advance:
            return repaired_without(network, removed, batches, progress=advance)

    try:
        repaired = with_room(network, batch_size, repair_window, repair)
    except UnrepairableError as reason:
        return {"left_out": str(reason)}
    return {**held_out_cost(repaired, tokenizer, text, skip=skip, tokens=tokens, window=window, said=said)}
