"""A projection that writes into the residual stream: its rows of the linear problem, and its change."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avss_core.surgery.repair.gram import Ridge

LEAST_GAIN = 0.1
"""Gains of a norm under this share of their root mean square are treated as that: dividing by them would let
outputs that hardly count change the size by which all others are divided."""

LEAST_SQUARE = 1e-6
"""Added to a token's mean square before dividing by it, as norms do: a token of zeros stays finite."""

_TINY = torch.finfo(torch.float64).tiny


def token_weights(goal: Float[Tensor, "rows outputs"]) -> Float[Tensor, " rows"]:
    """Return how much each token's error counts, float64: 1 / mean square of its goal.

    Our reading: the next block reads the stream through a norm, which divides each token by its root mean
    square, so an error counts relative to that. The first position of a text, whose activations are massive
    (Sun et al. 2024, arXiv 2402.17762), then weighs like any other token and is fitted too: left out, a
    refit moves it freely, and all later tokens attend to it.
    """
    square = goal.double().square().mean(1)
    # An infinite goal has no weight of 0, which would hide it.
    return 1 / torch.where(square.isfinite(), square + LEAST_SQUARE, torch.nan)


@dataclass(frozen=True)
class Outlet:
    """A projection that writes into the residual stream, and the norm behind it where the family has one.

    Without a norm the block adds z = h W + b to the residual stream; with one, gain * z / rms(z). Weights are
    seen as [features, outputs], however the family stores them.
    """

    block: nn.Module
    projection: str
    """Path of the projection inside the block."""
    transposed: bool
    """True where the weight is stored as [outputs, features]."""
    norm: str = ""
    """Path of the norm inside the block; empty where there is none."""

    @property
    def weight(self) -> Float[Tensor, "features outputs"]:
        """Return the weight, as a view."""
        stored: Any = self.block.get_submodule(self.projection).weight
        weight: Tensor = stored.detach()
        return weight.T if self.transposed else weight

    @property
    def bias(self) -> Float[Tensor, " outputs"] | None:
        """Return the bias that is refitted: that of a projection with no norm behind it; None for none."""
        return None if self.norm else self._stored_bias()

    @property
    def intercept(self) -> bool:
        """Tell whether the linear problem has an intercept: the bias that is refitted."""
        return self.bias is not None

    @property
    def features(self) -> int:
        """Return the number of inputs of the linear problem."""
        return len(self.weight)

    @property
    def watched(self) -> tuple[str, ...]:
        """Return the modules of which the inputs are needed: the projection."""
        return (self.projection,)

    @property
    def device(self) -> torch.device:
        """Return where sums about this projection run: its device, or the CPU where that has no float64."""
        place = self.weight.device
        return torch.device("cpu") if place.type == "mps" else place

    def rows(
        self,
        inputs: Float[Tensor, "rows features"],
        goal: Float[Tensor, "rows outputs"],
        output: Float[Tensor, "rows outputs"],
        sums: Float[Tensor, "rows outputs"] | None = None,
    ) -> tuple[Float[Tensor, "rows _"], Float[Tensor, "rows outputs"]]:
        """Return the rows of the linear problem, float64: what moves the block's output, and what it misses.

        `sums` is what a norm in the residual stream reads; there is none here.

        Behind a norm an input counts by what the norm lets through, h / rms(z), as if rms(z) did not change
        with the weights; `change` divides by the gain.
        """
        exact = inputs.to(self.device).double()
        missing = goal.to(self.device).double() - output.to(self.device).double()
        return exact / self._size(exact) if self.norm else exact, missing

    def added(self, inputs: Float[Tensor, "rows features"]) -> Float[Tensor, "rows outputs"]:
        """Return what is added to the residual stream, float64."""
        exact = inputs.to(self.device).double()
        if self.norm:
            return exact @ self._exact_weight() / self._size(exact) * self.gain()
        bias = 0 if self.bias is None else self.bias.to(self.device).double()
        return exact @ self._exact_weight() + bias

    def gain(self) -> Float[Tensor, " outputs"]:
        """Return what the norm multiplies each output by, float64: its answer to a row of ones."""
        ones = torch.ones_like(self.weight[:1])
        gain: Tensor = self.block.get_submodule(self.norm)(ones)[0].to(self.device).double()
        return gain

    def change(self, found: Ridge) -> None:
        """Add a solution in the terms of `rows` to the weights, in place."""
        step = found.weight
        if self.norm:
            gain = self.gain()
            floor = LEAST_GAIN * gain.square().mean().sqrt()
            step = step * gain / gain.square().clamp(min=float(floor.square()))
        bias = self.bias
        moved = None if bias is None or found.bias is None else bias.to(found.bias) + found.bias
        weight = self._exact_weight() + step
        self.store(weight.T if self.transposed else weight, moved)

    def stored(self) -> dict[str, Tensor]:
        """Return the tensors that refitting changes, as the family stores them: weight, and bias if any."""
        return self._stored_weight() | ({} if self.bias is None else {"bias": self.bias})

    def store(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Put new tensors in the place of the old ones, which other models may share and keep.

        Args:
            weight: the new weight, as the family stores it.
            bias: the new bias; None for the old one.
        """
        module: Any = self.block.get_submodule(self.projection)
        module.weight = _parameter(weight, module.weight)
        if bias is not None:
            module.bias = _parameter(bias, module.bias)

    def _stored_weight(self) -> dict[str, Tensor]:
        module: Any = self.block.get_submodule(self.projection)
        return {"weight": module.weight.detach()}

    def _stored_bias(self) -> Tensor | None:
        module: Any = self.block.get_submodule(self.projection)
        return None if module.bias is None else module.bias.detach()

    def _exact_weight(self) -> Float[Tensor, "features outputs"]:
        return self.weight.to(self.device).double()

    def _size(self, exact: Float[Tensor, "rows features"]) -> Float[Tensor, "rows 1"]:
        """Return the size by which the norm divides each row of z: its root mean square."""
        behind = self.block.get_submodule(self.norm)
        epsilon = float(getattr(behind, "eps", getattr(behind, "variance_epsilon", 0.0)))
        square = (exact @ self._exact_weight()).square().mean(1, keepdim=True)
        return (square + epsilon).sqrt().clamp(min=_TINY)


def _parameter(values: Tensor, like: nn.Parameter) -> nn.Parameter:
    """Return a parameter with new values, in the dtype and on the device of the old one."""
    return nn.Parameter(
        values.to(device=like.device, dtype=like.dtype, copy=True).contiguous(),
        requires_grad=like.requires_grad,
    )
