"""Scores of the layers for a sweep: one pass over the text for all that read activations."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.models.batches import Batch, text_batches
from avss_core.models.room import BatchSize, batch_size_of
from avss_core.scores.evidence import Evidence, measured_statistics
from avss_core.scores.layer_scores import THRESHOLDS, LayerScores, score_layers
from avss_core.scores.scores import find_score
from avss_core.statistics.collection import collect_statistics
from avss_core.statistics.layer_records import StatisticsPart
from avss_core.statistics.statistics import LayerStatistics, Thresholds


@dataclass(frozen=True)
class ScoredText:
    """How the text is read that layers are scored on; as the arguments of `score_layers`."""

    tokens: int = 8192
    window: int = 512
    batch_size: BatchSize = 4
    parts: int = 8
    skip_first: bool = True
    thresholds: Thresholds = THRESHOLDS


def sites_of(scores: Sequence[str]) -> list[str]:
    """Return the sites that the scores of activations need, none if no score reads activations.

    Raises:
        LookupError: a score is unknown.

    Example:
        >>> sites_of(["angular", "last_n"]), sites_of(["traversal"])
        (['update'], [])
    """
    records = [find_score(name) for name in scores]
    return sorted({each.site or "update" for each in records if each.needs == "statistics"})


def part_statistics(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    sites: Sequence[str],
    how: ScoredText,
    part: int,
) -> StatisticsPart:
    """Return the statistics of every layer on one part of the text, no layers without a token."""
    batches: list[Batch] = text_batches(
        tokenizer,
        texts,
        tokens=how.tokens,
        window=how.window,
        batch_size=batch_size_of(model, how.batch_size, how.window),
        skip_first=how.skip_first,
        part=part,
        parts=how.parts,
    )
    if not any(batch.counted.any() for batch in batches):
        return {"tokens": 0, "layers": []}
    layers = collect_statistics(model, batches, sites=sites, thresholds=how.thresholds)
    return {"tokens": sum(batch.tokens for batch in batches), "layers": [layer.record() for layer in layers]}


def scores_of_activations(scores: Sequence[str], parts: Sequence[StatisticsPart]) -> dict[str, list[float]]:
    """Return each layer's score by name, from the statistics of all parts.

    Raises:
        ValueError: no part has a token to count.
    """
    seen = [
        Evidence(
            len(part["layers"]),
            statistics=[LayerStatistics.from_record(layer) for layer in part["layers"]],
            tokens=part["tokens"],
        )
        for part in parts
        if part["tokens"]
    ]
    if not seen:
        raise ValueError("no activation was counted; give text of two tokens or more")
    measured = measured_statistics(seen)
    return {name: LayerScores.of(name, measured).values.tolist() for name in scores}


def other_score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    score: str,
    how: ScoredText,
    *,
    ratio: float,
    seed: int,
) -> list[float]:
    """Return each layer's score by one that reads no statistics; `greedy` ranks the share `ratio`."""
    scores = score_layers(
        model,
        tokenizer,
        texts,
        score,
        thresholds=how.thresholds,
        tokens=how.tokens,
        window=how.window,
        batch_size=batch_size_of(model, how.batch_size, how.window),
        parts=how.parts,
        skip_first=how.skip_first,
        ratio=ratio,
        seed=seed,
    )
    values: list[float] = scores.values.tolist()
    return values
