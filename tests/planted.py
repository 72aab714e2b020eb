"""Models with a planted layer, of which it is known what removing it must cost."""

from typing import Any

import torch


def linear_layer(tiny: Any) -> Any:
    """Return a model whose layer 1 is linear in what the last projection of block 0 reads.

    It has no activation function and a stream of one size at the first blocks: block 0 writes what its MLP's
    projection makes of the token alone, and that projection can do the work of both layers.
    """
    dense = tiny("gpt2", activation_function="linear")
    with torch.no_grad():
        table = dense.transformer.wte.weight
        table -= table.mean(1, keepdim=True)
        table /= table.square().mean(1, keepdim=True).sqrt()
        dense.transformer.wpe.weight.zero_()
        for silent in (dense.transformer.h[0].attn, dense.transformer.h[0].mlp, dense.transformer.h[1].attn):
            silent.c_proj.weight.zero_()
            silent.c_proj.bias.zero_()
    return dense
