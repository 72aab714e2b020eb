"""Score layers, choose those to remove, and measure what each score's choice costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import task

from avss_core.activations import SiteStatistics, Statistics
from avss_core.batches import token_stream
from avss_core.perplexity import language_modelling
from avss_core.pruning import choose_layers
from avss_core.scores import (
    Thresholds,
    cumulate,
    find_score,
    normalise,
    rank_agreement,
    shot_noise,
)
from avss_core.views import without_layers
from tasks.loaded import model_at
from tasks.progress import progress
from tasks.rows import read_documents
from tasks.units import unit


@task(name="score-layers")
def score_layers(
    statistics: Mapping[str, Any],
    readings: Sequence[tuple[str, str, int]],
    *,
    absolute: float,
    relative: float,
    ratio: float,
    protect_first: int,
    protect_last: int,
) -> dict[str, Any]:
    """Return, for each reading (label, score, seed), every layer's score and the layers that it removes."""
    layers = read_statistics(statistics)
    thresholds = Thresholds(absolute, relative)
    scores = {label: find_score(name).function(layers, thresholds, seed) for label, name, seed in readings}
    result = {
        label: {
            "score": name,
            "reference": find_score(name).reference,
            "scores": scores[label].tolist(),
            "normalised": normalise(scores[label]).tolist(),
            "cumulative": cumulate(scores[label]).tolist(),
            "removed": choose_layers(
                scores[label], ratio, protect_first=protect_first, protect_last=protect_last
            ),
            "shot_noise": shot_noise(layers, thresholds, name),
        }
        for label, name, _ in readings
    }
    return {"readings": result, "agreement": rank_agreement(scores)}


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
) -> dict[str, Any]:
    """Return the loss without some layers on calibration text behind the part that was scored."""
    network, tokenizer = model_at(model, dtype, device)
    ids = token_stream(tokenizer, read_documents(text), skip + tokens)[skip:]
    if len(ids) < 2:
        raise ValueError(
            f"the calibration text has no token left behind the {skip} that were scored; "
            "lower collect.tokens or give more text"
        )
    text_of = str(tokenizer.decode(ids))
    pruned = without_layers(network, removed) if removed else network
    with progress(f"cost of removing {len(removed)} layers", len(ids) // window) as advance:
        found = language_modelling(pruned, ids, text_of, window=window, progress=advance)
    return {"nll": found.nll_per_token, "tokens": found.tokens, "window_means": list(found.window_means)}


def read_statistics(record: Mapping[str, Any]) -> Statistics:
    """Return the statistics of a record that `text_statistics` wrote."""
    return [
        {site: SiteStatistics.from_record(found) for site, found in layer.items()}
        for layer in record["layers"]
    ]
