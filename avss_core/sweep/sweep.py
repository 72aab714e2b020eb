"""Remove more and more layers by several scores, and measure what that costs before and after a repair."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import torch

from avss_core.metrics.comparison import paired_means
from avss_core.progress import Progress, no_progress
from avss_core.scores.choice import choose_layers
from avss_core.scores.scores import find_score
from avss_core.sweep.kept_points import KeptPoints
from avss_core.sweep.knee import knee
from avss_core.sweep.layer_orders import scores_of_activations, sites_of
from avss_core.sweep.measurements import Loaded, Measurements
from avss_core.sweep.sweep_plan import Plan
from avss_core.sweep.sweep_records import MeasuredLoss, SweepPoint, SweepRecord
from avss_core.sweep.targets import Sizes, Targets, count_for_size

Steps = Callable[[str, int, str], AbstractContextManager[Progress]]
"""Called with what is done, how many of it there are and what is counted; gives what is told of each."""

Choices = Mapping[int, Sequence[int]]
"""The layers that one score removes, by their number."""

Losses = Mapping[tuple[int, ...], MeasuredLoss]
"""Losses by removed layers."""


def _silent(_label: str, _total: int, _unit: str) -> AbstractContextManager[Progress]:
    """Show nothing."""
    return nullcontext(no_progress)


def sweep(
    load: Callable[[], Loaded],
    texts: Sequence[str],
    plan: Plan,
    kept: KeptPoints,
    *,
    questions: Sequence[Mapping[str, Any]] = (),
    targets: Targets | None = None,
    steps: Steps = _silent,
) -> SweepRecord:
    """Return the loss of each choice of layers, before and after a small repair, beside the dense model's.

    A choice that several scores share is measured once. Whatever `kept` holds is not measured again, and the
    model is not loaded if it holds everything. The losses are those of `avss_core.evaluation.perplexity`, the
    repair is `avss_core.surgery.repair.small_repair`.

    Args:
        load: returns the dense model, which stays as it is, and its tokenizer; called once at most.
        texts: documents; the first `plan.scored.tokens` tokens are scored, those behind are held out.
        plan: what is done.
        kept: results by the digest of the model, which its subject has to hold.
        questions: rows that each model is asked, as `avss_core.sweep.preferences.askable` returns them.
        targets: what `avss_core.sweep.targets.answer` will be asked for: the numbers of layers that reach a
            size are measured too.
        steps: shows how far it is.

    Raises:
        LookupError: a score is unknown.
        ValueError: no number of layers reaches a size, a score or a loss is not a finite number, fewer layers
            are unprotected than a number asks for, or there is too little text.
    """
    measured, wanted = Measurements(load, texts, plan, kept, questions), targets or Targets()
    needs = {name: find_score(name).needs for name in plan.scores}  # refuses an unknown one before any work
    sizes = measured.sizes()
    layers = len(sizes.layer_parameters)
    free = min(layers - 1, layers - plan.protect_first - plan.protect_last)
    most = free if wanted.of_size else max(plan.counts)
    # A score that ranks so many layers alone may rank protected ones among them.
    ranked = min(layers - 1, most + plan.protect_first + plan.protect_last)
    scores = _scores(measured, plan, needs, ranked, steps)
    choices = {name: _choices(values, plan, free, sizes, wanted) for name, values in scores.items()}
    dense, losses, left_out = _losses(measured, choices, plan.repair_tokens > 0, steps)
    points = [
        point
        for name, by_count in choices.items()
        for model, by_choice in losses.items()
        for point in _curve({"score": name, "model": model}, by_count, by_choice, dense, sizes, plan.seed)
    ]
    return {
        "layers": layers,
        "dense": dense,
        "parameters": sizes.parameters,
        "bytes": sizes.bytes,
        "tokens": {
            "scored": plan.scored.tokens,
            "repaired": plan.repair_tokens if "repaired" in losses else 0,
            "held_out": dense["tokens"],
        },
        "scores": scores,
        "points": points,
        "left_out": left_out,
    }


def _scores(
    measured: Measurements, plan: Plan, needs: Mapping[str, str], most: int, steps: Steps
) -> dict[str, list[float]]:
    """Return each layer's score by name; all that read activations share one pass over the text."""
    scores: dict[str, list[float]] = {}
    reading = [name for name, need in needs.items() if need == "statistics"]
    if reading:
        sites, parts = sites_of(reading), []
        with steps("statistics of the text", plan.scored.parts, "parts") as advance:
            for part in range(plan.scored.parts):
                parts.append(measured.statistics(sites, part))
                advance(1)
        scores = scores_of_activations(reading, parts)
    for name in needs:
        if name not in scores:
            with steps(f"score {name}", 1, "scores"):
                scores[name] = measured.score(name, most)
    return {name: scores[name] for name in needs}


def _choices(
    values: Sequence[float], plan: Plan, free: int, sizes: Sizes, targets: Targets
) -> dict[int, list[int]]:
    """Return the layers that a score removes, by their number; also those that reach a size."""
    scores = torch.tensor(values, dtype=torch.float64)

    def chosen(count: int) -> list[int]:
        protect = {"protect_first": plan.protect_first, "protect_last": plan.protect_last}
        return choose_layers(scores, count / len(values), **protect)

    counts = {*plan.counts}
    if targets.of_size:
        sets = [set[int](), *(set(chosen(count)) for count in range(1, free + 1))]
        order = [next(iter(after - before)) for before, after in pairwise(sets)]
        counts.add(count_for_size(order, sizes, targets))
    return {count: chosen(count) for count in sorted(counts)}


def _losses(
    measured: Measurements, choices: Mapping[str, Choices], repair: bool, steps: Steps
) -> tuple[MeasuredLoss, dict[str, Losses], str]:
    """Return the dense loss, those of each choice by `pruned` and `repaired`, and why none was repaired."""
    distinct = sorted(
        {tuple(removed) for by_count in choices.values() for removed in by_count.values()},
        key=lambda removed: (len(removed), removed),
    )
    pruned: dict[tuple[int, ...], MeasuredLoss] = {}
    repaired: dict[tuple[int, ...], MeasuredLoss] = {}
    left_out = ""
    with steps("loss of each choice", 1 + len(distinct) * (1 + repair), "models") as advance:
        dense = measured.dense()
        advance(1)
        for removed in distinct:
            pruned[removed] = measured.pruned(removed)
            advance(1)
            if not repair or left_out:
                continue
            result = measured.repaired(removed)
            if isinstance(result, str):
                left_out = result
            else:
                repaired[removed] = result
            advance(1)
    losses: dict[str, Losses] = {"pruned": pruned}
    if repaired:
        losses["repaired"] = repaired
    return dense, losses, left_out


def _curve(
    names: Mapping[str, str],
    choices: Choices,
    losses: Losses,
    dense: MeasuredLoss,
    sizes: Sizes,
    seed: int,
) -> list[SweepPoint]:
    """Return the points of one score, pruned or repaired, with the knee of their curve marked."""
    measured = [losses[tuple(removed)] for removed in choices.values()]
    turn = knee([0, *choices], [dense["nll"], *(each["nll"] for each in measured)])
    points: list[SweepPoint] = []
    for place, ((count, removed), each) in enumerate(zip(choices.items(), measured, strict=True), 1):
        parameters, size = sizes.without(removed)
        before, after = ([float(said) for said in side.get("preferred", ())] for side in (dense, each))
        points.append(
            {
                "score": names["score"],
                "removed_layers": count,
                "removed": list(removed),
                "model": names["model"],
                "loss": each["nll"],
                "change": paired_means(dense["window_means"], each["window_means"], seed),
                "parameters": parameters,
                "bytes": size,
                "preferred": sum(after) / len(after) if after else None,
                "preferred_change": paired_means(before, after, seed) if after else None,
                "knee": place == turn,
            }
        )
    return points
