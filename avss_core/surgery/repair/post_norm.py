"""The last projection of an encoder's block: a norm behind it makes the block's output of the whole sum."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import layer_norm

from avss_core.surgery.repair.gram import Ridge
from avss_core.surgery.repair.projections import LEAST_GAIN, Outlet


@dataclass(frozen=True)
class StreamOutlet(Outlet):
    """A projection whose sum with the residual stream x passes a LayerNorm.

    The block's output is y = gain * (z - mean z) / s + shift, with z = x + h W + b and s the standard
    deviation of z over its units. The linear problem takes each token's s as it is. A change of z then
    arrives as gain * (dz - mean dz) / s: the inputs are [h, 1] / s, and the target is what the output misses,
    without the part along 1 / gain, which no z can reach.
    """

    @property
    def intercept(self) -> bool:
        """No: the bias is the weight of the input 1 / s, and penalised like the others."""
        return False

    @property
    def features(self) -> int:
        """Number of inputs of the linear problem: those of the projection, and 1 for its bias."""
        return len(self.weight) + 1

    @property
    def watched(self) -> tuple[str, ...]:
        """Return the modules of which the inputs are needed: the projection, then the norm."""
        return self.projection, self.norm

    def rows(
        self,
        inputs: Float[Tensor, "rows features"],
        goal: Float[Tensor, "rows outputs"],
        output: Float[Tensor, "rows outputs"],
        sums: Float[Tensor, "rows outputs"] | None = None,
    ) -> tuple[Float[Tensor, "rows features+1"], Float[Tensor, "rows outputs"]]:
        """Return the rows of the linear problem, float64; `sums` is what the norm reads."""
        if sums is None:
            raise ValueError("a norm in the residual stream needs what it reads")
        missing = goal.to(self.device).double() - output.to(self.device).double()
        exact = inputs.to(self.device).double()
        exact = torch.cat([exact, torch.ones_like(exact[:, :1])], 1)
        stream = sums.to(self.device).double()
        variance = (stream - stream.mean(1, keepdim=True)).square().mean(1, keepdim=True)
        across = self._inverse_gain()
        missing = missing - torch.outer(missing @ across, across) / across.square().sum()
        return exact / (variance + self._epsilon()).sqrt(), missing

    def change(self, found: Ridge) -> None:
        """Add a solution in the terms of `rows` to weight and bias, in place."""
        step = found.weight * self._inverse_gain()
        weight = self._exact_weight() + step[:-1]
        bias = self._stored_bias()
        self.store(
            weight.T if self.transposed else weight,
            None if bias is None else bias.to(self.device).double() + step[-1],
        )

    def stored(self) -> dict[str, Tensor]:
        """Return the tensors that refitting changes, as the family stores them: weight, and bias if any."""
        bias = self._stored_bias()
        return self._stored_weight() | ({} if bias is None else {"bias": bias})

    def rest(
        self, inputs: Float[Tensor, "rows features"], sums: Float[Tensor, "rows outputs"]
    ) -> Float[Tensor, "rows outputs"]:
        """Return what the norm reads, float64, without what the projection writes."""
        return sums.to(self.device).double() - self._written(inputs)

    def written(
        self, inputs: Float[Tensor, "rows features"], rest: Float[Tensor, "rows outputs"]
    ) -> Float[Tensor, "rows outputs"]:
        """Return the block's output, float64, where `rest` is the sum without what the projection writes."""
        sums = rest + self._written(inputs)
        norm = self.block.get_submodule(self.norm)
        weight, bias = (
            None if side is None else side.detach().to(sums)
            for side in (getattr(norm, name, None) for name in ("weight", "bias"))
        )
        return layer_norm(sums, sums.shape[1:], weight, bias, self._epsilon())

    def _written(self, inputs: Float[Tensor, "rows features"]) -> Float[Tensor, "rows outputs"]:
        bias, written = self._stored_bias(), inputs.to(self.device).double() @ self._exact_weight()
        return written if bias is None else written + bias.to(written)

    def _inverse_gain(self) -> Float[Tensor, " outputs"]:
        """Return 1 / gain, where gains under `LEAST_GAIN` of their root mean square count for no more."""
        gain = self._gain()
        floor = LEAST_GAIN * gain.square().mean().sqrt()
        return gain / gain.square().clamp(min=float(floor.square()))

    def _gain(self) -> Float[Tensor, " outputs"]:
        weight = getattr(self.block.get_submodule(self.norm), "weight", None)
        like = torch.ones(self.weight.shape[1], dtype=torch.float64, device=self.device)
        return like if weight is None else weight.detach().to(like)

    def _epsilon(self) -> float:
        return float(getattr(self.block.get_submodule(self.norm), "eps", 0.0))
