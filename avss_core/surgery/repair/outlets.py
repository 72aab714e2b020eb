"""The projections that write into the residual stream, and what lies between: can they be refitted?"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avss_core.models.architectures import architecture_of, blocks
from avss_core.models.placement import is_spread
from avss_core.surgery.repair.post_norm import StreamOutlet
from avss_core.surgery.repair.projections import Outlet

STILL_WORK = "avss prune and avss heal still work"
"""What every refusal ends with."""

PASSAGE = 0.01
"""Share of an expected change by which the one that arrives may differ."""


class UnrepairableError(ValueError):
    """The blocks of a model cannot be refitted; names the family."""


def outlets(model: nn.Module, layer: int) -> list[Outlet]:
    """Return the projections of a block that write into the residual stream: attention's, then the MLP's.

    Where a norm stands in the stream, as in encoders, that of the MLP alone: what the attention writes passes
    a norm and the MLP before it reaches the block's output.
    """
    family, block = architecture_of(model), blocks(model)[layer]
    transposed = not family.fan_in_fan_out
    if family.stream_norm:
        return [StreamOutlet(block, family.down, transposed, family.stream_norm)]
    return [
        Outlet(block, family.attention_out, transposed, family.attention_norm),
        Outlet(block, family.down, transposed, family.down_norm),
    ]


def check_outlets(model: nn.Module) -> None:
    """Return nothing where each block of a model has projections that can be refitted.

    Raises:
        UnrepairableError: there is a block without, such as one of experts; or weights are not all in memory,
            or not floating-point numbers. Names the family.
    """
    config: Any = model.config
    name, family = config.model_type, architecture_of(model)
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
