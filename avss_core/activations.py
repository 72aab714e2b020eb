"""Look at what each block reads and writes: hooks that leave no trace, and what is measured from them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avss_core.architectures import blocks
from avss_core.batches import Batch
from avss_core.moments import Moments

SITES = ("output", "update")
"""`output`: what the block returns; `update`: what it adds, output minus input."""

TOKEN_FIGURES = (
    "relative_variance",
    "log_contribution",
    "block_influence",
    "angular",
    "relative_magnitude",
    "l1",
    "l2",
)
"""Figures of one token at one site, whose means and spreads over tokens are kept:

relative_variance   Var(a) / Var(block input), variances over hidden units
log_contribution    log of Var(a) / Var(block output), the ratio at least `LEAST_CONTRIBUTION`
block_influence     1 - cos(block input, block output)          (Men et al. 2024, arXiv 2403.03853, eq. 1)
angular             arccos(cos(block input, block output)) / pi (Gromov et al. 2024, arXiv 2403.17887, eq. 4)
relative_magnitude  |update| / |block output|                   (Samragh et al. 2023, arXiv 2309.02412)
l1, l2              norms of a over hidden units
"""

LEAST_CONTRIBUTION = 1e-8
"""Ratio of variances under which a token counts as unchanged: a logarithm of zero would outweigh the rest."""

Visitor = Callable[[int, Tensor, Tensor], None]
"""Called with the layer's index, its input and its output, both [batch, seq, hidden]."""


@contextmanager
def observed(model: nn.Module, visit: Visitor) -> Iterator[None]:
    """Call `visit` for each block of each forward pass inside the context; remove every hook after it."""
    handles = []

    def hook(index: int) -> Callable[..., None]:
        def call(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            visit(index, hidden, result[0] if isinstance(result, tuple) else result)

        return call

    try:
        for index, block in enumerate(blocks(model)):
            handles.append(block.register_forward_hook(hook(index), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class SiteStatistics:
    """What one forward pass tells of one layer at one site; merges like `Moments`.

    `values` are the moments over all counted values (one feature); `below`, `below_relative` and
    `below_output` count the values with |a| under each absolute threshold, under each share of the RMS of the
    token's block input, and under the same share of the RMS of its block output.
    """

    values: Moments
    tokens: Moments
    below: dict[float, int]
    below_relative: dict[float, int]
    below_output: dict[float, int]

    @classmethod
    def of(
        cls,
        rows: Float[Tensor, "rows hidden"],
        before: Float[Tensor, "rows hidden"],
        after: Float[Tensor, "rows hidden"],
        absolute: Sequence[float],
        relative: Sequence[float],
    ) -> "SiteStatistics":
        """Return the statistics of the counted rows of one batch.

        Args:
            rows: activations at the site.
            before: block input of the same tokens.
            after: block output of the same tokens.
            absolute: thresholds in the unit of the activations.
            relative: thresholds as shares of the RMS of the block input, and of the block output.
        """
        magnitude = rows.abs()
        read, written = (side.square().mean(1, keepdim=True).sqrt() for side in (before, after))
        return cls(
            values=Moments.of(rows.reshape(-1, 1)),
            tokens=Moments.of(_token_figures(rows, before, after)),
            below={tau: int((magnitude < tau).sum()) for tau in absolute},
            below_relative={tau: int((magnitude < tau * read).sum()) for tau in relative},
            below_output={tau: int((magnitude < tau * written).sum()) for tau in relative},
        )

    def merge(self, other: "SiteStatistics") -> "SiteStatistics":
        """Return the statistics of both sets of tokens together."""
        return type(self)(
            self.values.merge(other.values),
            self.tokens.merge(other.tokens),
            {tau: count + other.below[tau] for tau, count in self.below.items()},
            {tau: count + other.below_relative[tau] for tau, count in self.below_relative.items()},
            {tau: count + other.below_output[tau] for tau, count in self.below_output.items()},
        )

    def token_mean(self, figure: str) -> float:
        """Return the mean over tokens of one of `TOKEN_FIGURES`."""
        return float(self.tokens.mean[TOKEN_FIGURES.index(figure)])

    def record(self) -> dict[str, Any]:
        """Return the state as JSON values; `from_record` restores it to the bit."""
        return {
            "values": self.values.record(),
            "tokens": self.tokens.record(),
            "below": [[tau, count] for tau, count in self.below.items()],
            "below_relative": [[tau, count] for tau, count in self.below_relative.items()],
            "below_output": [[tau, count] for tau, count in self.below_output.items()],
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "SiteStatistics":
        """Return the statistics that `record` wrote."""
        return cls(
            Moments.from_record(record["values"]),
            Moments.from_record(record["tokens"]),
            {float(tau): int(count) for tau, count in record["below"]},
            {float(tau): int(count) for tau, count in record["below_relative"]},
            {float(tau): int(count) for tau, count in record["below_output"]},
        )


def _token_figures(
    rows: Float[Tensor, "rows hidden"],
    before: Float[Tensor, "rows hidden"],
    after: Float[Tensor, "rows hidden"],
) -> Float[Tensor, "rows figures"]:
    """Return `TOKEN_FIGURES` of each token, in that order; a zero denominator counts as tiny."""
    tiny = torch.finfo(torch.float64).tiny
    variance, read, written = (side.var(1, correction=0) for side in (rows, before, after))
    before_norm, after_norm = before.norm(dim=1).clamp(min=tiny), after.norm(dim=1).clamp(min=tiny)
    # Rounding can carry the quotient just past 1, where arccos is not a number.
    cosine = ((before * after).sum(1) / before_norm / after_norm).clamp(-1, 1)
    return torch.stack(
        [
            variance / read.clamp(min=tiny),
            (variance / written.clamp(min=tiny)).clamp(min=LEAST_CONTRIBUTION).log(),
            1 - cosine,
            cosine.arccos() / torch.pi,
            (after - before).norm(dim=1) / after_norm,
            rows.abs().sum(1),
            rows.norm(dim=1),
        ],
        dim=1,
    )


Statistics = list[dict[str, SiteStatistics]]
"""For each layer, in depth order: site -> statistics."""


def at_site(site: str, before: Tensor, after: Tensor) -> Tensor:
    """Return the activations at a site, from a block's input and output."""
    return after if site == "output" else after - before


def collect_statistics(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    sites: Sequence[str],
    absolute: Sequence[float],
    relative: Sequence[float],
) -> Statistics:
    """Return the statistics of every layer at every site, from one forward pass; memory does not grow.

    Args:
        model: a causal language model.
        batches: what to run, with the positions that count.
        sites: a selection of `SITES`.
        absolute: thresholds in the unit of the activations (> 0).
        relative: thresholds as shares of the RMS of the block input, and of the block output (> 0).

    Raises:
        ValueError: an activation is not a finite number (names layer and sample), nothing was counted, or
            a block was never called.
    """
    layers: list[dict[str, SiteStatistics]] = [{} for _ in blocks(model)]
    current: list[Batch] = []

    def visit(index: int, before: Tensor, after: Tensor) -> None:
        batch = current[-1]
        chosen = batch.counted.to(after.device)
        inside, outside = before[chosen].double(), after[chosen].double()
        for site in sites:
            found = SiteStatistics.of(at_site(site, inside, outside), inside, outside, absolute, relative)
            if not (found.values.is_finite() and found.tokens.is_finite()):
                raise ValueError(_not_finite(index, site, at_site(site, before, after), batch))
            known = layers[index].get(site)
            layers[index][site] = found if known is None else known.merge(found)

    with observed(model, visit), torch.inference_mode():
        for batch in (batch for batch in batches if batch.counted.any()):
            current[:] = [batch]
            run_blocks(model, batch)
    for index, layer in enumerate(layers):
        if any(site not in layer or layer[site].values.count == 0 for site in sites):
            raise ValueError(f"layer {index}: no activation was counted; give text of two tokens or more")
    return layers


def run_blocks(model: nn.Module, batch: Batch) -> None:
    """Run a batch through the model without the cost of its output logits.

    Raises:
        ValueError: the batch is longer than the model's context.
    """
    config: Any = model.config
    room, length = getattr(config, "max_position_embeddings", None), batch.ids.shape[1]
    if room is not None and length > room:
        raise ValueError(
            f"a sequence of {length} tokens does not fit the model's {room} positions; lower collect.window"
        )
    body: Any = getattr(model, "base_model", model)
    body(**batch.inputs(next(model.parameters()).device))


def _not_finite(index: int, site: str, rows: Float[Tensor, "batch seq hidden"], batch: Batch) -> str:
    """Return the message that names the first sample with a value that is not finite."""
    bad = (~rows.isfinite().all(2) & batch.counted.to(rows.device)).any(1)
    sample = batch.first_sample + int(bad.long().argmax())
    return (
        f"layer {index}, site {site}: an activation of sample {sample} is not a finite number; "
        "load the model in float32 or check its weights"
    )
