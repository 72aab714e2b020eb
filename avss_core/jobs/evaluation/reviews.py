"""What a model says of reviews: their labels as a cached unit, and what those add up to."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avss_core.caching.loaded_model import model_at
from avss_core.caching.unit import unit
from avss_core.data.rows import read_prepared
from avss_core.display.steps import progress
from avss_core.evaluation.sentiment import balanced_demonstrations, label_orders, sentiment_probabilities
from avss_core.models.room import BatchSize


@unit("sentiment")
def sentiment(
    model: Path,
    train: Path,
    test: Path,
    *,
    dtype: str,
    device: str,
    shots: int,
    first: int,
    last: int,
    batch_size: BatchSize,
) -> dict[str, Any]:
    """Return the predicted and the true label of each review from `first` up to, but without, `last`."""
    network, tokenizer = model_at(model, dtype, device)
    shown = balanced_demonstrations(read_prepared(train), shots)
    rows = read_prepared(test, first, last)
    with progress("sentiment", 2 * len(rows) * len(label_orders(shown)), "prompts") as advance:
        positive = sentiment_probabilities(
            network, tokenizer, shown, [row["text"] for row in rows], batch_size=batch_size, progress=advance
        )
    return {"answers": review_answers(rows, positive)}


def review_answers(rows: Sequence[Mapping[str, Any]], positive: Sequence[float]) -> list[dict[str, Any]]:
    """Return the predicted and the true label of each review."""
    return [
        {
            "id": row["id"],
            "prompt": hashlib.sha256(row["text"].encode()).hexdigest(),
            "predicted": int(chance > 0.5),
            "confidence": max(chance, 1 - chance),
            "label": row["label"],
            "correct": int(chance > 0.5) == row["label"],
        }
        for row, chance in zip(rows, positive, strict=True)
    ]
