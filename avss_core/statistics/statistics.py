"""What one forward pass tells of every layer: frozen values that merge to the same result for any split."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avss_core.statistics.moments import Moments

BLOCK_FIGURES = ("block_influence", "angular", "relative_magnitude")
"""Figures of one token that compare a block's input with its output; means and spreads over tokens are kept:

block_influence     1 - cos(block input, block output)          (Men et al. 2024, arXiv 2403.03853, eq. 1)
angular             arccos(cos(block input, block output)) / pi (Gromov et al. 2024, arXiv 2403.17887, eq. 4)
relative_magnitude  |update| / |block output|                   (Samragh et al. 2023, arXiv 2309.02412)
"""

TOKEN_FIGURES = ("relative_variance", "log_contribution", "l1", "l2")
"""Figures of one token's activations a at one site, variances and norms over their units:

relative_variance   Var(a) / Var(block input)
log_contribution    log of Var(a) / Var(block output), the ratio at least `LEAST_CONTRIBUTION`
l1, l2              norms of a
"""

LEAST_CONTRIBUTION = 1e-8
"""Ratio of variances under which a token counts as unchanged: a logarithm of zero would outweigh the rest."""

LARGEST_RATIO = 1e8
"""Every ratio is at most this: what a token has whose stream is zero or constant, where the divisor is 0."""


@dataclass(frozen=True)
class SiteStatistics:
    """What one forward pass tells of one layer at one site; merges like `Moments`.

    `values` are the moments over all counted values (one feature), `tokens` those of `TOKEN_FIGURES`;
    `below`, `below_relative` and `below_output` count the values with |a| under each absolute threshold,
    under each share of the RMS of the token's block input, and under that share of the RMS of its block
    output.
    """

    values: Moments
    tokens: Moments
    below: Mapping[float, int]
    below_relative: Mapping[float, int]
    below_output: Mapping[float, int]

    def merge(self, other: "SiteStatistics") -> "SiteStatistics":
        """Return the statistics of both sets of tokens together."""
        return type(self)(
            self.values.merge(other.values),
            self.tokens.merge(other.tokens),
            *(
                {tau: count + theirs[tau] for tau, count in mine.items()}
                for mine, theirs in (
                    (self.below, other.below),
                    (self.below_relative, other.below_relative),
                    (self.below_output, other.below_output),
                )
            ),
        )

    def token_mean(self, figure: str) -> float:
        """Return the mean over tokens of one of `TOKEN_FIGURES`."""
        return float(self.tokens.mean[TOKEN_FIGURES.index(figure)])

    def frobenius(self) -> float:
        """Return the Frobenius norm of the matrix of tokens by units (unit of the activations)."""
        return math.sqrt(float(self.values.centred[0] + self.values.count * self.values.mean[0] ** 2))

    def record(self) -> dict[str, Any]:
        """Return the state as JSON values; `from_record` restores it to the bit."""
        counts = ("below", "below_relative", "below_output")
        return {
            "values": self.values.record(),
            "tokens": self.tokens.record(),
            **{name: [list(pair) for pair in getattr(self, name).items()] for name in counts},
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "SiteStatistics":
        """Return the statistics that `record` wrote."""
        return cls(
            Moments.from_record(record["values"]),
            Moments.from_record(record["tokens"]),
            *(
                {float(tau): int(count) for tau, count in record[name]}
                for name in ("below", "below_relative", "below_output")
            ),
        )


@dataclass(frozen=True)
class LayerStatistics:
    """What one forward pass tells of one layer."""

    block: Moments
    """Of `BLOCK_FIGURES`, over tokens."""
    sites: Mapping[str, SiteStatistics]
    published: tuple[tuple[float, float], ...] = ()
    """For each batch what the authors' script computes of it (see `avss_authors`): variance, share of zeros.
    Two numbers a batch: all that grows with the text, since their mean must be the script's to the bit."""

    def block_mean(self, figure: str) -> float:
        """Return the mean over tokens of one of `BLOCK_FIGURES`."""
        return float(self.block.mean[BLOCK_FIGURES.index(figure)])

    def merge(self, other: "LayerStatistics") -> "LayerStatistics":
        """Return the statistics of both sets of tokens together."""
        return type(self)(
            self.block.merge(other.block),
            {site: found.merge(other.sites[site]) for site, found in self.sites.items()},
            self.published + other.published,
        )

    def record(self) -> dict[str, Any]:
        """Return the state as JSON values; `from_record` restores it to the bit."""
        return {
            "block": self.block.record(),
            "sites": {site: found.record() for site, found in self.sites.items()},
            "published": [list(batch) for batch in self.published],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "LayerStatistics":
        """Return the statistics that `record` wrote."""
        return cls(
            Moments.from_record(record["block"]),
            {site: SiteStatistics.from_record(found) for site, found in record["sites"].items()},
            tuple((float(variance), float(share)) for variance, share in record["published"]),
        )


Statistics = list[LayerStatistics]
"""One entry for each layer, in depth order."""


def restore_parts(record: Mapping[str, Any]) -> list[Statistics]:
    """Return the statistics of each part of a text, from the record that collecting it wrote."""
    return [[LayerStatistics.from_record(layer) for layer in part["layers"]] for part in record["parts"]]


def merge_statistics(parts: Sequence[Statistics]) -> Statistics:
    """Return the statistics of several texts as of one, layer by layer.

    Raises:
        ValueError: there is no part.
    """
    if not parts:
        raise ValueError("there are no statistics to merge; collect at least one part")
    merged = parts[0]
    for part in parts[1:]:
        merged = [one.merge(other) for one, other in zip(merged, part, strict=True)]
    return merged
