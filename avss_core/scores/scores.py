"""Layer scores: one table, one record a score. Add a score by adding a function and a row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avss_core.plugins import Table, record_of
from avss_core.registry import SCORE_SITES, lookup, require_declared
from avss_core.scores.evidence import Evidence
from avss_core.scores.removal_scores import greedy, repairability, traversal
from avss_core.scores.score_records import Need
from avss_core.statistics.statistics import SiteStatistics

SHOT_NOISE_COUNT = 100
"""Threshold counts under this have a relative error above 10 % (Poisson) and are reported as shot noise."""


@dataclass(frozen=True)
class Score:
    """One way to tell how much a layer matters."""

    function: Callable[[Evidence], Float[Tensor, " layers"]]
    """Returns one value a layer, float64, in depth order."""
    reference: str
    """Equation and source."""
    needs: Need = "statistics"
    """What must be measured first."""
    site: str | None = None
    """The activation site that must have been collected; None if the score reads no site."""
    small: Callable[[Evidence], list[int]] | None = None
    """Count of small activations in each layer, which the score divides by."""
    prune_first: Literal["lowest"] = "lowest"
    """The end of the score that is pruned first."""
    running: Literal["rank", "depth"] = "rank"
    """Order in which the normalised score is summed up."""


def avss(evidence: Evidence) -> Float[Tensor, " layers"]:
    """Return the scale-free AVSS of each layer (dimensionless, higher = more important).

    AVSS = geometric mean over tokens of Var(update) / Var(block output)
           / share of values with |update| < tau * RMS(block output)

    Source: Song et al. 2024, arXiv 2411.02117 (AVSS = AV / AS). Our reading: the activation is what the layer
    adds to the residual stream, and both its variance and its threshold are taken relative to the stream that
    it leaves: how much of what the next layer reads comes from this one. With block outputs and a fixed
    threshold the score follows the growth of the stream with depth (see `avss_output`). The mean is
    geometric, since the ratio spans orders of magnitude from token to token and a few tokens decide an
    arithmetic mean (see `avss_input`).
    """
    variance = [layer.relative_variance() for layer in evidence.at("update")]
    return _over_share(variance, evidence.at("update"), _below_output(evidence))


def relative_variance(evidence: Evidence) -> Float[Tensor, " layers"]:
    """Return the variance of `avss` without its sparsity (0 up, dimensionless, higher = more important).

    RV = geometric mean over tokens of Var(update) / Var(block output)

    Source: Song et al. 2024, arXiv 2411.02117 (AV alone). Our reading: as `avss`; what the two choose
    differently is what the share of small values does.
    """
    return torch.tensor([layer.relative_variance() for layer in evidence.at("update")], dtype=torch.float64)


def avss_input(evidence: Evidence) -> Float[Tensor, " layers"]:
    """Return AVSS relative to the block input (dimensionless, higher = more important).

    AVSS = mean over tokens of Var(update) / Var(block input)
           / share of values with |update| < tau * RMS(block input)

    Source: Song et al. 2024, arXiv 2411.02117 (AVSS = AV / AS). Our reading: as `avss`, with the stream that
    the layer reads as the scale and an arithmetic mean, which the tokens with the largest ratios decide.
    """
    ratio = [layer.token_mean("variance_over_input") for layer in evidence.at("update")]
    return _over_share(ratio, evidence.at("update"), _below_input(evidence))


def avss_output(evidence: Evidence) -> Float[Tensor, " layers"]:
    """Return AVSS of the paper's text, on block outputs (squared activation unit, higher = more important).

    AV = (1/N) sum (a - mean)^2;  AS = (1/N) #(|a| < tau);  AVSS = AV / AS

    Source: Song et al. 2024, arXiv 2411.02117. Our reading: N counts all values of all tokens.

    Example:
        >>> from avss_core.statistics.moments import Moments
        >>> from avss_core.statistics.statistics import LayerStatistics
        >>> values = torch.tensor([[0.0], [2.0], [4.0], [2.0]])  # AV = 2, and AS = 1/4 under a threshold of 1
        >>> site = SiteStatistics(Moments.of(values), Moments.empty(), 1, 0, 0)
        >>> layer = LayerStatistics(Moments.empty(), {"output": site})
        >>> avss_output(Evidence(1, statistics=[layer])).tolist()
        [8.0]
    """
    variance = [float(layer.values.variance()[0]) for layer in evidence.at("output")]
    return _over_share(variance, evidence.at("output"), _below_absolute(evidence))


def avss_authors(evidence: Evidence) -> Float[Tensor, " layers"]:
    """Return AVSS as the authors' script computes it (squared activation unit, higher = more important).

    AV = mean over batches of (mean over the batch of the unbiased variance over hidden units of the mean over
    the sequence);  AS = mean over batches of the share of |a| < 1e-5;  AVSS = AV / AS

    Measured on block outputs in the model's own precision, padding and first position included; every batch
    has the same weight. The script sums the normalised score in layer order and removes the layers up to a
    sum of 0.25, whatever their rank (`authors_choice`). Its L1 and L2 norms are of weight gradients and its
    Frobenius norm is of weights; ours are of activations.

    Source: the script published with Song et al. 2024, arXiv 2411.02117. Our reading: the script divides by
    zero where no value is small; here half a value is counted, as in the other readings.
    """
    evidence.at("output")
    ratios = []
    for layer in evidence.collected():
        variances, shares = zip(*layer.published, strict=True)
        share = np.mean(shares) or 0.5 / layer.sites["output"].values.count
        ratios.append(np.mean(variances) / share)
    return torch.tensor(np.array(ratios), dtype=torch.float64)


def block_influence(evidence: Evidence) -> Float[Tensor, " layers"]:
    """Return the block influence of each layer (0 to 2, higher = more important).

    BI = mean over tokens of 1 - cos(block input, block output)

    Source: Men et al. 2024, arXiv 2403.03853, eq. 1 (ShortGPT).
    """
    return _block_mean(evidence, "block_influence")


def angular(evidence: Evidence) -> Float[Tensor, " layers"]:
    """Return the angle by which each layer turns the stream (0 to 1, higher = more important).

    d = mean over tokens of arccos(cos(block input, block output)) / pi

    Source: Gromov et al. 2024, arXiv 2403.17887, eq. 4. Our reading: for one layer, not for a run of n
    layers, and over all tokens, not the last one of each sequence alone.
    """
    return _block_mean(evidence, "angular")


def relative_magnitude(evidence: Evidence) -> Float[Tensor, " layers"]:
    """Return how much of its output each layer adds (0 up, higher = more important).

    RM = mean over tokens of |update| / |block output|

    Source: Samragh et al. 2023, arXiv 2309.02412.
    """
    return _block_mean(evidence, "relative_magnitude")


def last_n(evidence: Evidence) -> Float[Tensor, " layers"]:
    """Return the number of layers behind each layer: the last ones go first.

    Source: the simple baseline of Gromov et al. 2024, arXiv 2403.17887, which spares the very last layer;
    here it goes too, unless prune.protect_last says otherwise.
    """
    return torch.arange(evidence.layers - 1, -1, -1, dtype=torch.float64)


def random(evidence: Evidence) -> Float[Tensor, " layers"]:
    """Return a seeded random score of each layer (uniform on 0 to 1), the floor that a score must beat."""
    generator = torch.Generator().manual_seed(evidence.seed)
    return torch.rand(evidence.layers, generator=generator, dtype=torch.float64)


def _below_output(evidence: Evidence) -> list[int]:
    """Return the number of updates under the share of the RMS of the block output, by layer."""
    return [layer.below_output for layer in evidence.at("update")]


def _below_input(evidence: Evidence) -> list[int]:
    """Return the number of updates under the share of the RMS of the block input, by layer."""
    return [layer.below_input for layer in evidence.at("update")]


def _below_absolute(evidence: Evidence) -> list[int]:
    """Return the number of block outputs under the absolute threshold, by layer."""
    return [layer.below_absolute for layer in evidence.at("output")]


def _below_published(evidence: Evidence) -> list[int]:
    """Return roughly how many block outputs the authors' script counts as zero, by layer."""
    evidence.at("output")
    layers = evidence.collected()
    shares = [np.mean([share for _, share in layer.published]) for layer in layers]
    counts = [layer.sites["output"].values.count for layer in layers]
    return [round(float(share) * count) for share, count in zip(shares, counts, strict=True)]


def _over_share(
    variances: Sequence[float], layers: Sequence[SiteStatistics], counts: Sequence[int]
) -> Float[Tensor, " layers"]:
    """Return each layer's variance over its share of small activations."""
    shares = [share_below(layer, count) for layer, count in zip(layers, counts, strict=True)]
    return torch.tensor(variances, dtype=torch.float64) / torch.tensor(shares, dtype=torch.float64)


def _block_mean(evidence: Evidence, figure: str) -> Float[Tensor, " layers"]:
    """Return the mean over tokens of a figure that compares a block's input with its output."""
    return torch.tensor([layer.block_mean(figure) for layer in evidence.collected()], dtype=torch.float64)


_OWN: dict[str, Score] = {
    "avss": Score(
        avss,
        "geometric mean of Var(update)/Var(output) / share(|update| < tau RMS(output)); "
        "our reading of 2411.02117",
        site="update",
        small=_below_output,
    ),
    "avss_input": Score(
        avss_input,
        "mean Var(update)/Var(input) / share(|update| < tau RMS(input)); our reading of 2411.02117",
        site="update",
        small=_below_input,
    ),
    "avss_output": Score(
        avss_output,
        "Var(output) / share(|output| < tau); 2411.02117",
        site="output",
        small=_below_absolute,
    ),
    "avss_authors": Score(
        avss_authors,
        "variance of the mean output over the sequence / share(|output| < 1e-5); script of 2411.02117",
        site="output",
        small=_below_published,
        running="depth",
    ),
    "relative_variance": Score(
        relative_variance,
        "geometric mean of Var(update)/Var(output): avss without its sparsity",
        site="update",
    ),
    "block_influence": Score(block_influence, "mean 1 - cos(input, output); 2403.03853, eq. 1"),
    "angular": Score(angular, "mean arccos(cos(input, output)) / pi; 2403.17887, eq. 4"),
    "relative_magnitude": Score(relative_magnitude, "mean |update| / |output|; 2309.02412"),
    "last_n": Score(last_n, "the last layers first; 2403.17887", needs="nothing"),
    "random": Score(random, "uniform, seeded", needs="nothing"),
    "traversal": Score(traversal, "loss after removing the layer; 2411.10069, fig. 2", needs="losses"),
    "greedy": Score(greedy, "repeated traversal: the step at which the layer went", needs="order"),
    "greedy_repaired": Score(
        greedy, "greedy with a small repair before each loss; our own", needs="repaired_order"
    ),
    "repairability": Score(
        repairability,
        "sum |output - refitted output|^2 / sum |output|^2 without the layer; our own",
        needs="residuals",
    ),
}

require_declared(((name, score.site) for name, score in _OWN.items()), SCORE_SITES.own.items(), "SCORES")

SCORES = Table(_OWN, "avss.scores", record_of(Score))
"""Every score; the lowest values are pruned first."""


def find_score(name: str) -> Score:
    """Return the record of a score.

    Raises:
        LookupError: no score has that name; near matches are given.
    """
    return lookup(SCORES, name, "score")


def share_below(statistics: SiteStatistics, count: int) -> float:
    """Return the share of values under a threshold.

    Our reading: a count of zero is taken as half a value, so that AVSS stays finite; a layer without a small
    value scores twice what it would with one.
    """
    return max(count, 0.5) / statistics.values.count


def shot_noise(name: str, evidence: Evidence) -> list[int]:
    """Return the layers whose count of small activations is too small to trust for a score."""
    small = find_score(name).small
    counts = small(evidence) if small else []
    return [layer for layer, count in enumerate(counts) if count < SHOT_NOISE_COUNT]
