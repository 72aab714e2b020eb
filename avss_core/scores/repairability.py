"""How much of each layer's update the model without it reproduces, once the block before it is refitted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from avss_core.models.activations import observed, run_blocks
from avss_core.models.architectures import architecture_of, blocks, depth
from avss_core.models.batches import Batch
from avss_core.models.views import shallow_copy, with_blocks
from avss_core.progress import Progress, no_progress
from avss_core.surgery.repair.gram import Gram, Ridge, solve
from avss_core.surgery.repair.outlets import UnrepairableError, outlets
from avss_core.surgery.repair.projections import Outlet, token_weights
from avss_core.surgery.repair.repair import check_repairable
from avss_core.surgery.repair.resume import Span, copy_along
from avss_core.surgery.repair.small_repair import RIDGE

FOLDS = 2
"""Windows are dealt out to so many folds; each is held out once, and the refit is made on the others."""

State = Float[Tensor, "_ _ _"]
"""Of a batch: windows, tokens, features."""


@dataclass(frozen=True)
class LayerResidual:
    """What a refit of the block before a layer leaves of its update; one sum a window."""

    layer: int
    residuals: tuple[float, ...]
    """Sum over tokens of |goal - refitted output|^2 / |goal|^2, the goal being the layer's dense output."""
    outputs: tuple[float, ...]
    """Sum over tokens of |goal|^2 / |goal|^2: nearly their number."""


@torch.no_grad()
def layer_residuals(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    *,
    ridge: float = RIDGE,
    progress: Progress = no_progress,
) -> list[LayerResidual]:
    """Return, for each layer in depth order, what a refit of the block before it cannot reproduce.

    The layer is removed alone, and the projection by which the MLP of the block before it writes into the
    residual stream is refitted towards the layer's output, as `avss_core.surgery.repair.repair.refits` does
    with one ridge and without the attention. Before the first layer there is no block, and so no refit. Each
    window is measured with a refit to the windows of the other fold.

    Each block runs once. Memory: two hidden states a token, and what one projection reads.

    Args:
        model: the dense model; stays as it is.
        batches: windows, at least `FOLDS` of them.
        ridge: penalty (dimensionless, > 0).
        progress: called with the windows of each batch, once a block.

    Raises:
        UnrepairableError: the family cannot be repaired, or not one layer at a time as an encoder; names it.
        ValueError: there are too few windows, or an activation is not a finite number.
    """
    count = sum(len(batch.ids) for batch in batches)
    if count < FOLDS:
        raise ValueError(f"{count} windows of text cannot be dealt out to {FOLDS} folds; give more text")
    if architecture_of(model).stream_norm:
        raise UnrepairableError(
            f"cannot repair a {model.config.model_type} model one layer at a time: a norm stands in its "
            "residual stream, so what a layer adds is no sum; avss repair and the other scores still work"
        )
    check_repairable(model, batches[0])
    states, results = [_embedded(model, batch) for batch in batches], []
    features: list[State] = []
    for layer in range(depth(model.config)):
        span = Span(model, [layer], watch=outlets(model, layer)[-1].watched)
        goals, read = [], []
        for batch, state in zip(batches, states, strict=True):
            goals.append(span.run(batch, state.clone())[layer])
            read.append(span.seen(outlets(model, layer)[-1].projection, goals[-1]))
            progress(len(batch.ids))
        before = outlets(model, layer - 1)[-1] if layer else None
        rows = _windows(batches, states, goals, features or states)
        results.append(_measured(layer, before, rows, ridge))
        states, features = goals, read
    return results


@dataclass(frozen=True)
class _Window:
    """Real rows of a window: what the layer and the projection before it read, and the output."""

    state: Float[Tensor, "rows hidden"]
    goal: Float[Tensor, "rows hidden"]
    features: Float[Tensor, "rows features"]


def _windows(
    batches: Sequence[Batch], states: Sequence[State], goals: Sequence[State], features: Sequence[State]
) -> list[_Window]:
    """Return the real rows of each window, in text order."""
    return [
        _Window(*(side[real.to(side.device)] for side in sides))
        for batch, *each in zip(batches, states, goals, features, strict=True)
        for real, *sides in zip(batch.attention, *each, strict=True)
    ]


def _measured(layer: int, outlet: Outlet | None, windows: Sequence[_Window], ridge: float) -> LayerResidual:
    """Return what a refit of a projection leaves of a layer's update, window by window.

    Raises:
        ValueError: an activation is not a finite number.
    """
    missing = [window.goal.double() - window.state.double() for window in windows]
    weights = [token_weights(window.goal) for window in windows]
    residuals = [_square(rows, weight) for rows, weight in zip(missing, weights, strict=True)]
    if outlet is not None:
        for fold in range(FOLDS):
            refitted = _refitted(outlet, [w for i, w in enumerate(windows) if i % FOLDS != fold], ridge)
            for index in range(fold, len(windows), FOLDS):
                read = windows[index].features
                change = refitted.added(read) - outlet.added(read)
                residuals[index] = _square(missing[index].to(change.device) - change, weights[index])
    outputs = [_square(window.goal.double(), weight) for window, weight in zip(windows, weights, strict=True)]
    if not torch.tensor([*residuals, *outputs]).isfinite().all():
        raise ValueError(
            f"layer {layer}: an activation is not a finite number; load the model in float32 or check its "
            "weights"
        )
    return LayerResidual(layer, tuple(residuals), tuple(outputs))


def _refitted(outlet: Outlet, windows: Sequence[_Window], ridge: float) -> Outlet:
    """Return a copy of a projection, refitted towards what the windows miss."""
    features, outputs = outlet.weight.shape
    gram = Gram(features, outputs, outlet.device)
    for window in windows:
        gram.add(*outlet.rows(window.features, window.goal, window.state), token_weights(window.goal))
    block = shallow_copy(outlet.block)
    copy_along(block, outlet.projection)
    copied = replace(outlet, block=block)
    # What is not finite is told of by the sums of the windows.
    found: Ridge | None = solve(gram, ridge, intercept=outlet.bias is not None) if gram.is_finite() else None
    if found is not None:
        copied.change(found)
    return copied


def _embedded(model: PreTrainedModel, batch: Batch) -> State:
    """Return what the first block reads."""
    states: list[Tensor] = []
    view = with_blocks(model, {0: shallow_copy(blocks(model)[0])})
    with observed(view, lambda _index, seen: states.append(seen["input"])):
        run_blocks(view, batch)
    return states[0]


def _square(rows: Tensor, weights: Tensor) -> float:
    return float(weights.to(rows.device) @ rows.square().mean(1))
