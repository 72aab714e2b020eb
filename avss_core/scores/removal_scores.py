"""Scores by removing layers: the loss without each, and what a repair without each leaves open."""

import torch
from jaxtyping import Float
from torch import Tensor

from avss_core.scores.evidence import Evidence


def traversal(evidence: Evidence) -> Float[Tensor, " layers"]:
    """Return the loss of the model without each layer (nats a token, higher = more important).

    Source: exhaustive traversal, Song et al. 2024, arXiv 2411.10069, fig. 2; Kim et al. 2024, arXiv
    2402.02834.

    Raises:
        ValueError: a layer was not removed.

    Example:
        >>> traversal(Evidence(2, losses={0: 3.5, 1: 3.25})).tolist()
        [3.5, 3.25]
    """
    losses = evidence.losses or {}
    missing = [layer for layer in range(evidence.layers) if layer not in losses]
    if missing:
        raise ValueError(f"traversal needs the loss without layers {missing}; measure it first")
    return torch.tensor([losses[layer] for layer in range(evidence.layers)], dtype=torch.float64)


def greedy(evidence: Evidence) -> Float[Tensor, " layers"]:
    """Return the step, from 1, at which repeated traversal removed each layer (higher = more important).

    Each step removes the layer whose removal, on top of those before, leaves the lowest loss; layers that no
    step removed share the next number. `greedy_repaired` measures the loss after a small repair of what is
    left (`avss_core.surgery.repair.small_repair`).

    Raises:
        ValueError: no greedy removal was made.
    """
    if not evidence.order:
        raise ValueError("greedy needs the order in which layers were removed; measure it first")
    steps = {layer: step for step, layer in enumerate(evidence.order, 1)}
    last = len(evidence.order) + 1
    return torch.tensor([steps.get(layer, last) for layer in range(evidence.layers)], dtype=torch.float64)


def repairability(evidence: Evidence) -> Float[Tensor, " layers"]:
    """Return what a repair leaves open without each layer (0 up, dimensionless, higher = more important).

    R = sum over tokens of |output - refitted output|^2 / sum over tokens of |output|^2

    The layer is removed alone, the block before it is refitted towards the layer's output in the dense model
    (`avss_core.scores.repairability`), and both sums are over windows that the refit was not made on. A layer
    that writes nothing, or nothing but what the block before it can write, has 0; the first layer, which has
    no block before it, has the square of its update over that of its output.

    Our reading: the part of the update that cannot be given back counts relative to the stream, not to the
    update, so that a small update counts little, however far from linear it is.

    Raises:
        ValueError: a layer was not removed.

    Example:
        >>> repairability(Evidence(2, residuals={0: (1.0, 4.0), 1: (0.0, 2.0)})).tolist()
        [0.25, 0.0]
    """
    sums = evidence.residuals or {}
    missing = [layer for layer in range(evidence.layers) if layer not in sums]
    if missing:
        raise ValueError(
            f"repairability needs what a repair leaves open without layers {missing}; measure it first"
        )
    shares = []
    for layer in range(evidence.layers):
        residual, output = sums[layer]
        shares.append(residual / output if output else 0.0)
    return torch.tensor(shares, dtype=torch.float64)
