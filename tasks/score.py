"""Score layers, choose those to remove, and measure what each choice costs and how far it can be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import task

from avss_core.evaluation.perplexity import language_modelling
from avss_core.metrics.comparison import mean_with_interval, paired_means
from avss_core.models.batches import token_stream
from avss_core.models.views import without_layers
from avss_core.scores.choice import choose_layers
from avss_core.scores.ranking import authors_choice, cumulate, normalise, rank_agreement
from avss_core.scores.scores import Evidence, Thresholds, find_score, shot_noise
from avss_core.scores.stability import draws, score_interval, stability
from avss_core.statistics.statistics import Statistics, merge_statistics, restore_parts
from tasks.cache.loaded_model import model_at
from tasks.cache.units import unit
from tasks.data.rows import read_documents
from tasks.progress.steps import progress, working

Reading = tuple[str, str, int]
"""Label, score and seed."""


@dataclass(frozen=True)
class Choice:
    """How scores become layers to remove."""

    absolute: float
    relative: float
    ratio: float
    protect_first: int
    protect_last: int

    def evidence(self, layers: int, seed: int = 0, **known: Any) -> Evidence:
        """Return what a score looks at."""
        return Evidence(layers, Thresholds(self.absolute, self.relative), seed, **known)

    def removed(self, scores: Any) -> list[int]:
        """Return the layers that scores remove."""
        return choose_layers(
            scores, self.ratio, protect_first=self.protect_first, protect_last=self.protect_last
        )


@task(name="score-layers")
def score_layers(
    layers: int,
    readings: Sequence[Reading],
    choice: Choice,
    *,
    statistics: Mapping[str, Any] | None,
    losses: Sequence[Mapping[str, Any]] | None,
    order: Sequence[int] | None,
) -> dict[str, Any]:
    """Return every layer's score by each reading, and the layers that it removes."""
    known = {
        "statistics": merge_statistics(restore_parts(statistics)) if statistics else None,
        "losses": {found["layer"]: found["nll"] for found in losses} if losses else None,
        "order": order,
    }
    scores, result = {}, {}
    for label, name, seed in readings:
        score, evidence = find_score(name), choice.evidence(layers, seed, **known)
        values = scores[label] = score.function(evidence)
        result[label] = {
            "score": name,
            "reference": score.reference,
            "needs": score.needs,
            "scores": values.tolist(),
            "normalised": normalise(values).tolist(),
            "cumulative": cumulate(values, score.running).tolist(),
            "removed": choice.removed(values),
            "shot_noise": shot_noise(name, evidence),
        }
        if score.running == "depth":
            result[label]["own_rule"] = authors_choice(values, choice.ratio)
    # Orders that nothing was measured for agree with others by chance, or as depth does.
    measured = {label: values for label, values in scores.items() if result[label]["needs"] != "nothing"}
    return {"readings": result, "agreement": rank_agreement(measured)}


@task(name="choice-stability")
def choice_stability(
    layers: int,
    readings: Mapping[str, Mapping[str, Any]],
    choice: Choice,
    *,
    statistics: Mapping[str, Mapping[str, Any]],
    losses: Sequence[Mapping[str, Any]] | None,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return, for each reading of activations or losses, what other calibration text would have chosen.

    Args:
        layers: how many layers the model has.
        readings: what `score_layers` found, by label.
        choice: how scores become layers to remove.
        statistics: of the calibration text (`text`) and of other texts, by name; empty where no reading needs
            them.
        losses: without each layer, by window, where a reading needs them.
        resamples: how many.
        seed: of the drawing.

    Returns:
        by label: frequency, same and undecided of `Stability` over resamples of the calibration text, and the
        interval of each layer's score over them; for activations also the choice on its first tokens (sizes)
        and on each other text (sources).
    """
    parts = {name: restore_parts(record) for name, record in statistics.items()}
    tokens = [part["tokens"] for part in statistics["text"]["parts"]] if statistics else []
    drawn = draws(len(tokens), resamples, seed) if tokens else []
    with working(f"choices on {resamples:,} resamples of the text"):
        resampled = [merge_statistics([parts["text"][index] for index in draw]) for draw in drawn]
    prefixes = [count for count in _doubling(len(tokens)) if count < len(tokens)]
    found: dict[str, Any] = {}
    for label, reading in readings.items():
        score = find_score(reading["score"]).function

        def scored(statistics: Statistics, score: Any = score) -> Any:
            return score(choice.evidence(layers, statistics=statistics))

        def chosen(statistics: Statistics, scored: Any = scored) -> list[int]:
            return choice.removed(scored(statistics))

        if reading["needs"] == "statistics":
            found[label] = _over(reading, choice, [scored(each) for each in resampled], layers) | {
                "sizes": [
                    {
                        "tokens": sum(tokens[:count]),
                        "removed": chosen(merge_statistics(parts["text"][:count])),
                    }
                    for count in prefixes
                ],
                "sources": {
                    name: chosen(merge_statistics(each)) for name, each in parts.items() if name != "text"
                },
            }
        elif reading["needs"] == "losses" and losses:
            scores = [
                score(choice.evidence(layers, losses=each))
                for each in _resampled_losses(losses, resamples, seed)
            ]
            found[label] = _over(reading, choice, scores, layers) | {"sizes": [], "sources": {}}
    return found


def _over(reading: Mapping[str, Any], choice: Choice, scores: Sequence[Any], layers: int) -> dict[str, Any]:
    """Return how sure a reading's choice is, and the interval of its scores, from those of the resamples."""
    choices = [choice.removed(values) for values in scores]
    return asdict(stability(reading["removed"], choices, layers)) | {
        "interval": score_interval([values.tolist() for values in scores])
    }


def _doubling(parts: int) -> list[int]:
    """Return 1, 2, 4, ... up to a number of parts."""
    return [1 << power for power in range(parts.bit_length())]


def _resampled_losses(
    losses: Sequence[Mapping[str, Any]], resamples: int, seed: int
) -> list[dict[int, float]]:
    """Return the loss without each layer on resamples of the windows of the text."""
    windows = len(losses[0]["window_means"])
    return [
        {found["layer"]: sum(found["window_means"][i] for i in draw) / windows for found in losses}
        for draw in draws(windows, resamples, seed)
    ]


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
        found = language_modelling(pruned, ids, str(tokenizer.decode(ids)), window=window, progress=advance)
    return {"nll": found.nll_per_token, "tokens": found.tokens, "window_means": list(found.window_means)}


@task(name="compare-costs")
def compare_costs(
    costs: Mapping[str, Mapping[str, Any]], chosen: str, *, seed: int
) -> dict[str, dict[str, Any]]:
    """Return each cost with its interval over windows, and how far it lies above the chosen reading's."""
    best = costs[chosen]["window_means"]
    return {
        label: dict(cost)
        | {
            "interval": mean_with_interval(cost["window_means"], seed),
            "over_chosen": paired_means(best, cost["window_means"], seed),
        }
        for label, cost in costs.items()
    }
