"""The projections that write into the residual stream, and what lies between: can they be refitted?"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avss_core.models.architectures import architecture_of, blocks
from avss_core.models.placement import is_spread
from avss_core.surgery.repair.gram import Ridge

STILL_WORK = "avss prune and avss heal still work"
"""What every refusal ends with."""

LEAST_GAIN = 0.1
"""Gains of a norm under this share of their root mean square are treated as that: dividing by them would let
outputs that hardly count change the size by which all others are divided."""

PASSAGE = 0.01
"""Share of an expected change by which the one that arrives may differ."""


class UnrepairableError(ValueError):
    """The blocks of a model cannot be refitted; names the family."""


_TINY = torch.finfo(torch.float64).tiny


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
        stored: Any = self.block.get_submodule(self.projection).bias
        return None if stored is None or self.norm else stored.detach()

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
    ) -> tuple[Float[Tensor, "rows features"], Float[Tensor, "rows outputs"]]:
        """Return the rows of the linear problem, float64: what moves the block's output, and what it misses.

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
        module: Any = self.block.get_submodule(self.projection)
        return {"weight": module.weight.detach()} | (
            {} if self.bias is None else {"bias": module.bias.detach()}
        )

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

    def _exact_weight(self) -> Float[Tensor, "features outputs"]:
        return self.weight.to(self.device).double()

    def _size(self, exact: Float[Tensor, "rows features"]) -> Float[Tensor, "rows 1"]:
        """Return the size by which the norm divides each row of z: its root mean square."""
        behind = self.block.get_submodule(self.norm)
        epsilon = float(getattr(behind, "eps", getattr(behind, "variance_epsilon", 0.0)))
        square = (exact @ self._exact_weight()).square().mean(1, keepdim=True)
        return (square + epsilon).sqrt().clamp(min=_TINY)


def outlets(model: nn.Module, layer: int) -> list[Outlet]:
    """Return the projections of a block that write into the residual stream: attention's, then the MLP's."""
    family, block = architecture_of(model), blocks(model)[layer]
    transposed = not family.fan_in_fan_out
    return [
        Outlet(block, family.attention_out, transposed, family.attention_norm),
        Outlet(block, family.down, transposed, family.down_norm),
    ]


def check_outlets(model: nn.Module) -> None:
    """Return nothing where each block of a model has projections that can be refitted.

    Raises:
        UnrepairableError: there is a block without, such as one of experts; the norms stand in the residual
            stream, as in encoders; or weights are not all in memory, or not floating-point numbers. Names
            the family.
    """
    config: Any = model.config
    name, family = config.model_type, architecture_of(model)
    if not family.causal:
        raise UnrepairableError(
            f"cannot repair a {name} model: its norms stand in the residual stream, so that no projection "
            f"writes straight into it; {STILL_WORK}"
        )
    if is_spread(model):
        raise UnrepairableError(f"cannot repair a model whose weights device auto has spread; {STILL_WORK}")
    for layer, block in enumerate(blocks(model)):
        modules = dict(block.named_modules())
        for path in (family.attention_out, family.down):
            weight = getattr(modules.get(path or " "), "weight", None)
            if not isinstance(weight, Tensor) or weight.dim() != 2 or not weight.is_floating_point():
                raise UnrepairableError(
                    f"cannot repair a {name} model: layer {layer} has no single projection "
                    f"{path or '(its name is not known)'} with floating-point weights, as where experts or "
                    f"quantized weights stand in its place; {STILL_WORK}"
                )


def check_passage(
    before: Float[Tensor, "rows outputs"],
    after: Float[Tensor, "rows outputs"],
    expected: Float[Tensor, "rows outputs"],
    name: str,
) -> None:
    """Return nothing where a change of a projection arrives in the block's output as its record says.

    Args:
        before: the block's output.
        after: the block's output with other weights in the projection.
        expected: the difference according to `Outlet.added`.
        name: model type.

    Raises:
        UnrepairableError: something else lies between the two, such as a factor or a norm. Names the family.
    """
    arrived = after.double().to(expected.device) - before.double().to(expected.device)
    # Half precision rounds the output, not the difference: a share of the output's own size is allowed.
    allowed = PASSAGE * expected.norm() + 4 * torch.finfo(before.dtype).eps * before.double().norm()
    if (arrived - expected).norm() > allowed:
        raise UnrepairableError(
            f"cannot repair a {name} model: what its last projection writes does not enter the residual "
            f"stream as the record in avss_core/models/families.py says; {STILL_WORK}"
        )


def _parameter(values: Tensor, like: nn.Parameter) -> nn.Parameter:
    """Return a parameter with new values, in the dtype and on the device of the old one."""
    return nn.Parameter(
        values.to(device=like.device, dtype=like.dtype, copy=True).contiguous(),
        requires_grad=like.requires_grad,
    )
