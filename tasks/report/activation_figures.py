"""Figures of the activations of each layer, by text and site, from the collected statistics."""

from collections.abc import Callable, Mapping
from typing import TypedDict

from avss_core.models.activations import SITES
from avss_core.statistics.statistics import SiteStatistics, merge_statistics, restore_parts
from tasks.records import Certificate, ComparedRecords, TextStatistics

SITE_FIGURES: Mapping[str, Callable[[SiteStatistics], float]] = {
    "variance": lambda site: float(site.values.variance()[0]),
    "l1": lambda site: site.token_mean("l1"),
    "l2": lambda site: site.token_mean("l2"),
    "frobenius": SiteStatistics.frobenius_per_root_token,
    "share_below": SiteStatistics.share_below_output,
}
"""Figures of a site; the last is the share of values below a share of the RMS of the block output."""


class ActivationFigures(TypedDict):
    """What the statistics say of each layer."""

    sources: dict[str, dict[str, dict[str, list[float]]]]
    """Text -> site -> each of `SITE_FIGURES` by layer."""
    site: str
    """What a block adds to the stream, or another site if that was not collected."""
    relative_variance: list[float]
    """Variance of that site over the variance of the block output, on the calibration text."""
    share_below: list[float]
    """Share of small values at that site, on the calibration text."""


class PageRecords(ComparedRecords):
    """All that the page is made of."""

    statistics: dict[str, TextStatistics]
    activations: ActivationFigures
    repaired: Certificate | None
    """None if repair is switched off."""
    healed: Certificate | None
    """None if healing is switched off."""
    mitigated: Certificate
    checkpoint: str
    """Digest of the certificate of the pruned checkpoint."""


def activation_figures(statistics: Mapping[str, TextStatistics]) -> ActivationFigures:
    """Return the figures of every layer on each text."""
    layers = {text: merge_statistics(restore_parts(record)) for text, record in statistics.items()}
    sources = {
        text: {
            site: {
                name: [figure(layer.sites[site]) for layer in stack] for name, figure in SITE_FIGURES.items()
            }
            for site in SITES
            if site in stack[0].sites
        }
        for text, stack in layers.items()
    }
    site = "update" if "update" in sources["text"] else next(iter(sources["text"]))
    return {
        "sources": sources,
        "site": site,
        "relative_variance": [layer.sites[site].relative_variance() for layer in layers["text"]],
        "share_below": sources["text"][site]["share_below"],
    }
