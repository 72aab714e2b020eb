"""What a score looks at: what was measured of a model's layers on a text, whole and in parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from avss_core.statistics.statistics import SiteStatistics, Statistics, merge_statistics


@dataclass(frozen=True)
class Evidence:
    """What a score may look at; a score reads only what its record says that it needs."""

    layers: int
    seed: int = 0
    statistics: Statistics | None = None
    losses: Mapping[int, float] | None = None
    """Loss of the model without each layer (nats a token)."""
    order: Sequence[int] | None = None
    """Layers in the order in which greedy removal took them."""
    residuals: Mapping[int, tuple[float, float]] | None = None
    """For each layer the squares of what a repair without it leaves open, and of its output, summed."""
    tokens: int = 0
    """Counted tokens behind the statistics."""

    def at(self, site: str) -> list[SiteStatistics]:
        """Return the statistics of every layer at one site.

        Raises:
            ValueError: that site was not collected.
        """
        layers = self.collected()
        if layers and site not in layers[0].sites:
            raise ValueError(f"the site {site!r} was not collected; name it in collect.sites")
        return [layer.sites[site] for layer in layers]

    def collected(self) -> Statistics:
        """Return the statistics of every layer.

        Raises:
            ValueError: none were collected.
        """
        if self.statistics is None:
            raise ValueError("this score needs activation statistics; collect them first")
        return self.statistics


@dataclass(frozen=True)
class Measured:
    """Evidence on a whole text, and on the parts of it that resamples draw from."""

    whole: Evidence
    parts: tuple[Evidence, ...] = ()
    """Empty where a score depends on no text, and for greedy removal."""
    windows: int | None = None
    """Windows of the text that greedy removal measured; None for the others."""

    @property
    def units(self) -> int | None:
        """Return in how many pieces the text was measured, None without a text."""
        return len(self.parts) or self.windows


def measured_statistics(parts: Sequence[Evidence]) -> Measured:
    """Return the statistics of a text from those of its parts."""
    return Measured(together(parts), tuple(parts))


def measured_losses(
    bare: Evidence, losses: Mapping[int, float], window_means: Mapping[int, Sequence[float]]
) -> Measured:
    """Return the loss without each layer, over all tokens and in each window, added to bare evidence."""
    windows = zip(*window_means.values(), strict=True)
    parts = (replace(bare, losses=dict(zip(window_means, means, strict=True))) for means in windows)
    return Measured(replace(bare, losses=losses), tuple(parts))


def measured_residuals(
    bare: Evidence, residuals: Mapping[int, Sequence[float]], outputs: Mapping[int, Sequence[float]]
) -> Measured:
    """Return what a repair leaves open without each layer, added to bare evidence.

    Args:
        bare: the number of layers.
        residuals: sum of the squares in each window, by layer.
        outputs: the same of the layer's output.
    """
    windows = zip(*(zip(residuals[layer], outputs[layer], strict=True) for layer in residuals), strict=True)
    parts = [replace(bare, residuals=dict(zip(residuals, window, strict=True))) for window in windows]
    return Measured(together(parts), tuple(parts))


def together(parts: Sequence[Evidence]) -> Evidence:
    """Return what a score sees of several parts of a text; losses are means, since windows count alike."""
    if parts[0].statistics is not None:
        merged = merge_statistics([part.collected() for part in parts])
        return replace(parts[0], statistics=merged, tokens=sum(part.tokens for part in parts))
    if parts[0].residuals is not None:
        squares = [part.residuals or {} for part in parts]
        sums = {layer: _added([each[layer] for each in squares]) for layer in squares[0]}
        return replace(parts[0], residuals=sums)
    losses = [part.losses or {} for part in parts]
    means = {layer: sum(each[layer] for each in losses) / len(losses) for layer in losses[0]}
    return replace(parts[0], losses=means)


def _added(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the sums of the first and of the second numbers."""
    return sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
