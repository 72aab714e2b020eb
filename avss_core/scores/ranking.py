"""What follows from scores alone: order, shares, running sums, agreement."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from scipy.stats import kendalltau
from torch import Tensor


def normalise(scores: Float[Tensor, " layers"]) -> Float[Tensor, " layers"]:
    """Return NAVSS = score / sum of scores (sums to 1; equal shares where every score is 0).

    Example:
        >>> normalise(torch.tensor([1.0, 1.0, 2.0])).tolist()
        [0.25, 0.25, 0.5]
    """
    total = scores.sum()
    return scores / total if total > 0 else torch.full_like(scores, 1 / len(scores))


def cumulate(
    scores: Float[Tensor, " layers"], order: Literal["rank", "depth"] = "rank"
) -> Float[Tensor, " layers"]:
    """Return CAVSS, each layer's running sum of NAVSS (ends at 1).

    Args:
        scores: in depth order.
        order: sum from the lowest score, or from the first layer as the authors' script does.

    Example:
        >>> cumulate(torch.tensor([2.0, 1.0, 1.0])).tolist()
        [1.0, 0.25, 0.5]
    """
    along = torch.tensor(rank(scores) if order == "rank" else range(len(scores)))
    running = torch.empty_like(scores)
    running[along] = normalise(scores)[along].cumsum(0)
    return running


def authors_choice(scores: Float[Tensor, " layers"], share: float) -> list[int]:
    """Return the layers that the authors' script removes: those with a CAVSS by depth of at most a share.

    Example:
        >>> authors_choice(torch.tensor([1.0, 1.0, 2.0]), 0.25)
        [0]
    """
    return [layer for layer, running in enumerate(cumulate(scores, "depth").tolist()) if running <= share]


def rank(scores: Float[Tensor, " layers"]) -> list[int]:
    """Return the layers from the one to prune first; equal scores stay in depth order.

    Raises:
        ValueError: a score is not a finite number.

    Example:
        >>> rank(torch.tensor([2.0, 1.0, 1.0]))
        [1, 2, 0]
    """
    values: Sequence[float] = scores.tolist()
    for layer, value in enumerate(values):
        if not math.isfinite(value):
            raise ValueError(f"layer {layer} has the score {value}; scores must be finite")
    return sorted(range(len(values)), key=lambda layer: values[layer])


def rank_agreement(scores: Mapping[str, Float[Tensor, " layers"]]) -> dict[str, dict[str, float | None]]:
    """Return Kendall's tau-b of each pair of scores, with depth as one of them; None if one is constant."""
    if not scores:
        return {}
    layers = len(next(iter(scores.values())))
    columns = {**scores, "depth": torch.arange(layers, dtype=torch.float64)}
    return {
        name: {other: kendall_tau(left.tolist(), right.tolist()) for other, right in columns.items()}
        for name, left in columns.items()
    }


def kendall_tau(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of two columns (-1 to 1), None if one is constant."""
    tau = float(kendalltau(left, right).statistic)
    return tau if math.isfinite(tau) else None
