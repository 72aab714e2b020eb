"""Measure every layer in one streaming pass."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avss_core.models.activations import Seen, at_site, observed, run_blocks
from avss_core.models.architectures import blocks
from avss_core.models.batches import Batch
from avss_core.progress import Progress, no_progress
from avss_core.statistics.moments import Moments
from avss_core.statistics.statistics import (
    LARGEST_RATIO,
    LEAST_RELATIVE_VARIANCE,
    LayerStatistics,
    SiteStatistics,
    Statistics,
    Thresholds,
)

AUTHORS_THRESHOLD = 1e-5
"""|a| that the authors' script counts as zero."""

_TINY = torch.finfo(torch.float64).tiny
"""Stands for a denominator of zero."""


def collect_statistics(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    sites: Sequence[str],
    thresholds: Thresholds,
    progress: Progress = no_progress,
) -> Statistics:
    """Return the statistics of every layer at every site, from one forward pass; memory does not grow.

    Args:
        model: a causal language model.
        batches: what to run, with the positions that count.
        sites: a selection of `avss_core.models.activations.SITES`.
        thresholds: activation magnitudes that count as zero.
        progress: called after each batch.

    Raises:
        ValueError: an activation is not a finite number (names layer and sample), nothing was counted, or
            a block was never called.
    """
    layers: list[LayerStatistics | None] = [None for _ in blocks(model)]
    current: list[Batch] = []
    meter = _Meter(sites, thresholds)

    def visit(index: int, seen: Seen) -> None:
        measured, before = meter.measure(index, seen, current[-1]), layers[index]
        layers[index] = measured if before is None else before.merge(measured)

    with observed(model, visit, sites), torch.inference_mode():
        for batch in batches:
            if batch.counted.any():
                current[:] = [batch]
                run_blocks(model, batch)
            progress(1)
    collected = [layer for layer in layers if layer is not None]
    if len(collected) < len(layers):
        raise ValueError(
            f"layer {layers.index(None)}: no activation was counted; give text of two tokens or more"
        )
    return collected


@dataclass(frozen=True)
class _Side:
    """Mean, centred sum of squares and squared norm of each token's activations, `width` units each."""

    width: int
    mean: Float[Tensor, " tokens"]
    centred: Float[Tensor, " tokens"]
    square: Float[Tensor, " tokens"]

    @property
    def variance(self) -> Float[Tensor, " tokens"]:
        """Return the variance over units."""
        return self.centred / self.width

    @property
    def scale(self) -> Float[Tensor, "tokens 1"]:
        """Return the root mean square over units, as a column."""
        return (self.square / self.width).sqrt().unsqueeze(1)


class _Meter:
    """Measures blocks in float64, in working memory that is made once and used for every block and batch."""

    def __init__(self, sites: Sequence[str], thresholds: Thresholds) -> None:
        self.sites, self.thresholds = sites, thresholds
        self._memory: dict[str, Tensor] = {}

    def measure(self, index: int, seen: Seen, batch: Batch) -> LayerStatistics:
        """Return the statistics of one block over one batch.

        Raises:
            ValueError: an activation at a counted position is not a finite number.
        """
        before, after = (self._exact(name, seen[name]) for name in ("input", "output"))
        update = torch.sub(after, before, out=self._room("update", after))
        counted = batch.counted.flatten().to(after.device)
        read, written, added = (self._side(rows) for rows in (before, after, update))
        product = torch.linalg.vecdot(before, after)
        sites = {}
        for site in self.sites:
            known = {"output": (after, written), "update": (update, added)}.get(site)
            rows = self._exact(site, at_site(site, seen)) if known is None else known[0]
            side = self._side(rows) if known is None else known[1]
            sites[site] = self._site(rows, side, read, written, counted)
            if not (sites[site].values.is_finite() and sites[site].tokens.is_finite()):
                raise ValueError(_not_finite(index, site, at_site(site, seen), batch))
        published = (_published(seen["output"]),) if "output" in self.sites else ()
        block = Moments.of(_block_figures(product, read, written, added)[counted])
        return LayerStatistics(block, sites, published)

    def _site(
        self,
        rows: Float[Tensor, "tokens features"],
        side: _Side,
        read: _Side,
        written: _Side,
        counted: Bool[Tensor, " tokens"],
    ) -> SiteStatistics:
        """Return the statistics of the counted tokens at one site."""
        magnitude = torch.abs(rows, out=self._room("magnitude", rows))
        small = self._room("small", rows)

        def below(limit: float | Tensor) -> int:
            return int(torch.lt(magnitude, limit, out=small).sum(1)[counted].sum())

        return SiteStatistics(
            Moments.of_groups(side.width, side.mean[counted], side.centred[counted]),
            Moments.of(_token_figures(magnitude.sum(1), side, read, written)[counted]),
            below(self.thresholds.absolute),
            below(self.thresholds.relative * read.scale),
            below(self.thresholds.relative * written.scale),
        )

    def _side(self, rows: Float[Tensor, "tokens features"]) -> _Side:
        """Return each token's mean, centred sum of squares and squared norm; centred before it is squared."""
        mean = rows.mean(1)
        shifted = torch.sub(rows, mean.unsqueeze(1), out=self._room("shifted", rows))
        centred = torch.linalg.vecdot(shifted, shifted)
        width = rows.shape[1]
        return _Side(width, mean, centred, centred + width * mean.square())

    def _exact(self, name: str, activations: Float[Tensor, "batch seq features"]) -> Tensor:
        """Return a float64 copy as rows, one a token."""
        flat = activations.flatten(0, 1)
        # Apple's GPUs have no float64.
        return self._room(name, flat.cpu() if flat.device.type == "mps" else flat).copy_(flat)

    def _room(self, name: str, like: Tensor) -> Tensor:
        """Return working memory of a shape; it grows to the largest that was asked for, and stays."""
        held = self._memory.get(name)
        if held is None or held.numel() < like.numel() or held.device != like.device:
            held = self._memory[name] = torch.empty(like.numel(), dtype=torch.float64, device=like.device)
        return held[: like.numel()].view(like.shape)


def _block_figures(
    product: Float[Tensor, " tokens"], read: _Side, written: _Side, added: _Side
) -> Float[Tensor, "tokens figures"]:
    """Return `BLOCK_FIGURES` of each token, in that order."""
    before, after = (side.square.sqrt().clamp(min=_TINY) for side in (read, written))
    # Rounding can carry the quotient just past 1, where arccos is not a number.
    cosine = (product / before / after).clamp(-1, 1)
    return torch.stack([1 - cosine, cosine.arccos() / torch.pi, _ratio(added.square.sqrt(), after)], dim=1)


def _ratio(above: Float[Tensor, " tokens"], below: Float[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
    """Return a ratio that is 0 where both are 0, and at most `LARGEST_RATIO`."""
    return (above / below.clamp(min=_TINY)).clamp(max=LARGEST_RATIO)


def _token_figures(
    l1: Float[Tensor, " tokens"], side: _Side, read: _Side, written: _Side
) -> Float[Tensor, "tokens figures"]:
    """Return `TOKEN_FIGURES` of each token, in that order."""
    return torch.stack(
        [
            _ratio(side.variance, read.variance),
            _ratio(side.variance, written.variance).clamp(min=LEAST_RELATIVE_VARIANCE).log(),
            l1,
            side.square.sqrt(),
        ],
        dim=1,
    )


def _published(output: Float[Tensor, "batch seq hidden"]) -> tuple[float, float]:
    """Return what the authors' script computes of one batch of block outputs, every position included.

    In the model's own precision: mean over the sequence, unbiased variance over hidden units, mean over the
    batch; and the share of values with |a| < 1e-5.
    """
    variance = output.mean(dim=1).var(dim=1).mean().item()
    return variance, (output.abs() < AUTHORS_THRESHOLD).float().mean().item()


def _not_finite(index: int, site: str, rows: Float[Tensor, "batch seq features"], batch: Batch) -> str:
    """Return the message that names the first sample with a value that is not finite."""
    bad = (~rows.isfinite().all(2) & batch.counted.to(rows.device)).any(1)
    sample = batch.first_sample + int(bad.long().argmax())
    return (
        f"layer {index}, site {site}: an activation of sample {sample} is not a finite number; "
        "load the model in float32 or check its weights"
    )
