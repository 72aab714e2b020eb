"""Statistics of every layer over one part of a text, as a unit."""

from collections.abc import Sequence
from pathlib import Path

from avss_core.caching.loaded_model import model_at
from avss_core.caching.unit import unit
from avss_core.data.rows import read_documents, read_prepared
from avss_core.display.steps import progress
from avss_core.models.architectures import reads_both_ways
from avss_core.models.batches import text_batches
from avss_core.models.room import BatchSize, with_room
from avss_core.statistics.collection import collect_statistics
from avss_core.statistics.layer_records import StatisticsPart
from avss_core.statistics.statistics import Thresholds


@unit("text-statistics")
def text_statistics(
    model: Path,
    source: Path,
    *,
    dtype: str,
    device: str,
    tokens: int,
    window: int,
    batch_size: BatchSize,
    skip_first: bool,
    sites: Sequence[str],
    absolute: float,
    relative: float,
    part: int,
    parts: int,
) -> StatisticsPart:
    """Return the statistics of every layer over one part of a text: documents, or questions with answers.

    Each part gets a run of the text's windows. A part without windows has no layers.
    """
    network, tokenizer = model_at(model, dtype, device)
    documents = read_documents(source) if source.suffix == ".json" else _as_text(source)

    def collected(size: int) -> StatisticsPart:
        batches = text_batches(
            tokenizer,
            documents,
            tokens=tokens,
            window=window,
            batch_size=size,
            skip_first=skip_first,
            part=part,
            parts=parts,
            encoder=reads_both_ways(network.config),
        )
        if not any(batch.counted.any() for batch in batches):
            return {"tokens": 0, "layers": []}
        # The caller already counts parts, if there are several.
        counted = len(batches) if parts == 1 else 0
        with progress(f"statistics of {source.parent.name}", counted, "batches") as advance:
            layers = collect_statistics(
                network,
                batches,
                sites=sites,
                thresholds=Thresholds(absolute, relative),
                progress=advance,
            )
        read = sum(batch.tokens for batch in batches)
        return {"tokens": read, "layers": [layer.record() for layer in layers]}

    return with_room(network, batch_size, window, collected)


def _as_text(path: Path) -> list[str]:
    """Return a document for each question row: the question and its first accepted answer."""
    return [f"Question: {row['question']}\nAnswer: {row['answers'][0]}" for row in read_prepared(path)]
