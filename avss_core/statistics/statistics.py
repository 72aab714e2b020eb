"""What one forward pass tells of every layer: frozen values that merge to the same result for any split."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avss_core.statistics.layer_records import LayerRecord, SiteRecord, TextStatistics
from avss_core.statistics.moments import Moments

BLOCK_FIGURES = ("block_influence", "angular", "relative_magnitude")
"""Figures of one token that compare a block's input with its output; means and spreads over tokens are kept:

block_influence     1 - cos(block input, block output)          (Men et al. 2024, arXiv 2403.03853, eq. 1)
angular             arccos(cos(block input, block output)) / pi (Gromov et al. 2024, arXiv 2403.17887, eq. 4)
relative_magnitude  |update| / |block output|                   (Samragh et al. 2023, arXiv 2309.02412)
"""

TOKEN_FIGURES = ("variance_over_input", "log_relative_variance", "l1", "l2")
"""Figures of one token's activations a at one site, variances and norms over their units:

variance_over_input    Var(a) / Var(block input)
log_relative_variance  log of Var(a) / Var(block output), the ratio at least `LEAST_RELATIVE_VARIANCE`
l1, l2                 norms of a
"""

LEAST_RELATIVE_VARIANCE = 1e-8
"""Ratio of variances under which a token counts as unchanged: a logarithm of zero would outweigh the rest."""

LARGEST_RATIO = 1e8
"""Every ratio is at most this: what a token has whose stream is zero or constant, where the divisor is 0."""


@dataclass(frozen=True)
class Thresholds:
    """Activation magnitudes that count as zero."""

    absolute: float
    """In the unit of the activations (> 0)."""
    relative: float
    """As a share of the RMS of the residual stream (> 0), at the block's input or its output."""


@dataclass(frozen=True)
class SiteStatistics:
    """Statistics of one layer's activations a at one site; they merge like `Moments`."""

    values: Moments
    """Over all counted values (one feature)."""
    tokens: Moments
    """Of `TOKEN_FIGURES`, over tokens."""
    below_absolute: int
    """Number of values with |a| under the absolute threshold."""
    below_input: int
    """Number of values with |a| under the relative threshold times the RMS of the token's block input."""
    below_output: int
    """Number of values with |a| under the relative threshold times the RMS of the token's block output."""

    def merge(self, other: "SiteStatistics") -> "SiteStatistics":
        """Return the statistics of both sets of tokens together."""
        return type(self)(
            self.values.merge(other.values),
            self.tokens.merge(other.tokens),
            self.below_absolute + other.below_absolute,
            self.below_input + other.below_input,
            self.below_output + other.below_output,
        )

    def token_mean(self, figure: str) -> float:
        """Return the mean over tokens of one of `TOKEN_FIGURES`."""
        return float(self.tokens.mean[TOKEN_FIGURES.index(figure)])

    def relative_variance(self) -> float:
        """Return the geometric mean over tokens of Var(a) / Var(block output) (dimensionless).

        The report's relative variance, and the numerator of the score `avss`.
        """
        return math.exp(self.token_mean("log_relative_variance"))

    def frobenius(self) -> float:
        """Return the Frobenius norm of the matrix of tokens by units (unit of the activations)."""
        return math.sqrt(float(self.values.centred[0] + self.values.count * self.values.mean[0] ** 2))

    def frobenius_per_root_token(self) -> float:
        """Return the Frobenius norm over the root of the number of tokens, the RMS of the l2 norms."""
        return self.frobenius() / math.sqrt(self.tokens.count)

    def share_below_output(self) -> float:
        """Return the share of values under the relative threshold times the RMS of the block output."""
        return self.below_output / self.values.count

    def record(self) -> SiteRecord:
        """Return the state as JSON values; `from_record` restores it to the bit."""
        return {
            "values": self.values.record(),
            "tokens": self.tokens.record(),
            "below_absolute": self.below_absolute,
            "below_input": self.below_input,
            "below_output": self.below_output,
        }

    @classmethod
    def from_record(cls, record: SiteRecord) -> "SiteStatistics":
        """Return the statistics that `record` wrote."""
        return cls(
            Moments.from_record(record["values"]),
            Moments.from_record(record["tokens"]),
            record["below_absolute"],
            record["below_input"],
            record["below_output"],
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
            {site: mine.merge(other.sites[site]) for site, mine in self.sites.items()},
            self.published + other.published,
        )

    def record(self) -> LayerRecord:
        """Return the state as JSON values; `from_record` restores it to the bit."""
        return {
            "block": self.block.record(),
            "sites": {site: statistics.record() for site, statistics in self.sites.items()},
            "published": [list(batch) for batch in self.published],
        }

    @classmethod
    def from_record(cls, record: LayerRecord) -> "LayerStatistics":
        """Return the statistics that `record` wrote."""
        return cls(
            Moments.from_record(record["block"]),
            {name: SiteStatistics.from_record(site) for name, site in record["sites"].items()},
            tuple((variance, share) for variance, share in record["published"]),
        )


Statistics = list[LayerStatistics]
"""One entry for each layer, in depth order."""


def restore_parts(record: TextStatistics) -> list[Statistics]:
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
