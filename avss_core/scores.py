"""Layer scores: one table, one record a score. Add a score by adding a function and a row."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from scipy.stats import kendalltau
from torch import Tensor

from avss_core.activations import SiteStatistics, Statistics
from avss_core.registry import lookup

SHOT_NOISE_COUNT = 100
"""Threshold counts under this have a relative error above 10 % (Poisson) and are reported as shot noise."""


@dataclass(frozen=True)
class Thresholds:
    """Activation magnitudes that count as zero."""

    absolute: float
    """In the unit of the activations."""
    relative: float
    """As a share of the RMS of the residual stream, at the block's input or output as the score says."""


@dataclass(frozen=True)
class Score:
    """One way to tell how much a layer matters."""

    function: Callable[[Statistics, Thresholds, int], Float[Tensor, " layers"]]
    """Takes statistics, thresholds and a seed; returns float64 in depth order."""
    prune_first: Literal["lowest"]
    """Which end of the score goes first."""
    site: str | None
    """The activation site that must have been collected, None for a score that needs no statistics."""
    reference: str
    """Equation and source."""


def avss(statistics: Statistics, thresholds: Thresholds, seed: int = 0) -> Float[Tensor, " layers"]:
    """Return the scale-free AVSS of each layer (dimensionless, higher = more important).

    AVSS = geometric mean over tokens of Var(update) / Var(block output)
           / share of values with |update| < tau * RMS(block output)

    Source: Song et al. 2024, arXiv 2411.02117 (AVSS = AV / AS). Our reading: the activation is what the layer
    adds to the residual stream, and both its variance and its threshold are taken relative to the stream that
    it leaves: how much of what the next layer reads comes from this one. With block outputs and a fixed
    threshold the score follows the growth of the stream with depth (see `avss_output`). The mean is
    geometric, since the ratio spans orders of magnitude from token to token, and an arithmetic mean is that
    of a few tokens (see `avss_input`).
    """
    return torch.tensor(
        [
            math.exp(layer["update"].token_mean("log_contribution"))
            / share_below(layer["update"], layer["update"].below_output[thresholds.relative])
            for layer in statistics
        ],
        dtype=torch.float64,
    )


def avss_input(statistics: Statistics, thresholds: Thresholds, seed: int = 0) -> Float[Tensor, " layers"]:
    """Return AVSS relative to the block input (dimensionless, higher = more important).

    AVSS = mean over tokens of Var(update) / Var(block input)
           / share of values with |update| < tau * RMS(block input)

    Source: Song et al. 2024, arXiv 2411.02117 (AVSS = AV / AS). Our reading: as `avss`, with the stream that
    the layer reads as the scale and an arithmetic mean, which the tokens with the largest ratios decide.
    """
    return torch.tensor(
        [
            layer["update"].token_mean("relative_variance")
            / share_below(layer["update"], layer["update"].below_relative[thresholds.relative])
            for layer in statistics
        ],
        dtype=torch.float64,
    )


def avss_output(statistics: Statistics, thresholds: Thresholds, seed: int = 0) -> Float[Tensor, " layers"]:
    """Return AVSS of the paper's text, on block outputs (squared activation unit, higher = more important).

    AV = (1/N) sum (a - mean)^2;  AS = (1/N) #(|a| < tau);  AVSS = AV / AS

    Source: Song et al. 2024, arXiv 2411.02117. Our reading: N counts all values of all tokens.
    """
    return torch.tensor(
        [
            float(layer["output"].values.variance()[0])
            / share_below(layer["output"], layer["output"].below[thresholds.absolute])
            for layer in statistics
        ],
        dtype=torch.float64,
    )


def block_influence(
    statistics: Statistics, thresholds: Thresholds, seed: int = 0
) -> Float[Tensor, " layers"]:
    """Return the block influence of each layer (0 to 2, higher = more important).

    BI = mean over tokens of 1 - cos(block input, block output)

    Source: Men et al. 2024, arXiv 2403.03853, eq. 1 (ShortGPT).
    """
    return torch.tensor(
        [_any_site(layer).token_mean("block_influence") for layer in statistics], dtype=torch.float64
    )


def random(statistics: Statistics, thresholds: Thresholds, seed: int = 0) -> Float[Tensor, " layers"]:
    """Return a seeded random score of each layer (uniform on 0 to 1), the floor that a score must beat."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(statistics), generator=generator, dtype=torch.float64)


SCORES: Mapping[str, Score] = {
    "avss": Score(
        avss,
        "lowest",
        "update",
        "geometric mean of Var(update)/Var(output) / share(|update| < tau RMS(output)); "
        "our reading of 2411.02117",
    ),
    "avss_input": Score(
        avss_input,
        "lowest",
        "update",
        "mean Var(update)/Var(input) / share(|update| < tau RMS(input)); our reading of 2411.02117",
    ),
    "avss_output": Score(avss_output, "lowest", "output", "Var(output) / share(|output| < tau); 2411.02117"),
    "block_influence": Score(
        block_influence, "lowest", "output", "mean 1 - cos(input, output); 2403.03853, eq. 1"
    ),
    "random": Score(random, "lowest", None, "uniform, seeded"),
}


def find_score(name: str) -> Score:
    """Return the record of a score.

    Raises:
        LookupError: no score has that name; near matches are given.
    """
    return lookup(SCORES, name, "score")


def share_below(statistics: SiteStatistics, count: int) -> float:
    """Return the share of values under a threshold.

    Our reading: a count of zero is taken as half a value, so that AVSS stays finite; a layer without any
    small value scores twice what it would with one.
    """
    return max(count, 0.5) / statistics.values.count


def normalise(scores: Float[Tensor, " layers"]) -> Float[Tensor, " layers"]:
    """Return NAVSS = score / sum of scores (sums to 1; equal shares where every score is 0)."""
    total = scores.sum()
    return scores / total if total > 0 else torch.full_like(scores, 1 / len(scores))


def cumulate(scores: Float[Tensor, " layers"]) -> Float[Tensor, " layers"]:
    """Return CAVSS, each layer's running sum of NAVSS in rank order, lowest first (ends at 1)."""
    order = rank(scores)
    running = torch.empty_like(scores)
    running[torch.tensor(order)] = normalise(scores)[torch.tensor(order)].cumsum(0)
    return running


def rank(scores: Float[Tensor, " layers"]) -> list[int]:
    """Return the layers from the one to prune first; equal scores stay in depth order.

    Raises:
        ValueError: a score is not a finite number.
    """
    values: Sequence[float] = scores.tolist()
    for layer, value in enumerate(values):
        if not math.isfinite(value):
            raise ValueError(f"layer {layer} has the score {value}; scores must be finite")
    return sorted(range(len(values)), key=lambda layer: values[layer])


def rank_agreement(scores: Mapping[str, Float[Tensor, " layers"]]) -> dict[str, dict[str, float | None]]:
    """Return Kendall's tau-b of each pair of scores, depth among them; None where one is constant."""
    if not scores:
        return {}
    layers = len(next(iter(scores.values())))
    columns = {**scores, "depth": torch.arange(layers, dtype=torch.float64)}
    return {
        name: {other: _tau(left.tolist(), right.tolist()) for other, right in columns.items()}
        for name, left in columns.items()
    }


def _tau(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Return Kendall's tau-b, None where it has no value."""
    tau = float(kendalltau(left, right).statistic)
    return tau if math.isfinite(tau) else None


def shot_noise(statistics: Statistics, thresholds: Thresholds, score: str) -> list[int]:
    """Return the layers whose threshold count is too small to trust for a score."""
    counts = {
        "avss": lambda layer: layer["update"].below_output[thresholds.relative],
        "avss_input": lambda layer: layer["update"].below_relative[thresholds.relative],
        "avss_output": lambda layer: layer["output"].below[thresholds.absolute],
    }
    if score not in counts:
        return []
    return [index for index, layer in enumerate(statistics) if counts[score](layer) < SHOT_NOISE_COUNT]


def _any_site(layer: dict[str, SiteStatistics]) -> SiteStatistics:
    """Return the statistics of whichever site was collected: block figures are the same at all."""
    return next(iter(layer.values()))
