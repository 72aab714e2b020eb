"""The loss without each layer: every layer is removed once, and what the removals share runs once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from avss_core.evaluation.perplexity import LanguageModelling, batches_loss, window_batches
from avss_core.models.activations import observed
from avss_core.models.architectures import blocks, depth
from avss_core.models.configuration import kept_layers
from avss_core.models.layers import check_layers
from avss_core.models.views import shallow_copy, with_blocks
from avss_core.progress import Progress, no_progress


@dataclass(frozen=True)
class LayerInputs:
    """What each kept layer reads from a token stream, on the model's device and in its dtype.

    Memory: kept layers x predicted tokens x hidden numbers (30 layers, 2048 tokens, 576 hidden units in
    float32: 142 MB).
    """

    batches: tuple[Int[Tensor, "_ _"], ...]
    """Windows of token ids, as `window_batches` makes them."""
    states: Mapping[int, tuple[Float[Tensor, "_ _ hidden"], ...]]
    """For each kept layer, by its number in the dense model: the hidden state before it, batch by batch."""
    removed: tuple[int, ...]
    """The base set: layers already removed."""
    text: str
    """The text that the ids encode, for the counts of words and bytes."""
    context: int = 0
    """Tokens of each window that are read and not predicted."""
    tuples: bool = False
    """True where the family's blocks return a tuple that starts with the hidden state."""


@torch.inference_mode()
def layer_inputs(
    model: PreTrainedModel,
    ids: Sequence[int],
    text: str = "",
    *,
    window: int = 512,
    context: int = 0,
    batch_size: int = 4,
    removed: Sequence[int] = (),
    progress: Progress = no_progress,
) -> LayerInputs:
    """Return what each kept layer reads in one pass over a token stream, windows as in `language_modelling`.

    Args:
        model: the dense model; stays as it is.
        ids: the token stream.
        text: the text that the ids encode, for the counts of words and bytes.
        window: predicted tokens a window.
        context: tokens before each window that are read and not predicted.
        batch_size: windows a batch.
        removed: layers already removed.
        progress: called with the windows of each finished batch.

    Raises:
        ValueError: there are fewer than two tokens, a window does not fit the model's context, or the removed
            layers do not fit the model.
    """
    full = blocks(model)
    kept = kept_layers(len(full), check_layers(removed, len(full)) if removed else [])
    batches = window_batches(model, ids, window, batch_size, context)
    states: dict[int, list[Tensor]] = {layer: [] for layer in kept}
    # Copies of the blocks, so that the hooks are on no block that another thread may be running.
    copies = {layer: shallow_copy(full[layer]) for layer in kept}
    kinds: set[bool] = set()
    copies[kept[0]].register_forward_hook(lambda _block, _args, result: kinds.add(isinstance(result, tuple)))
    view = with_blocks(model, copies)
    with observed(view, lambda index, seen: states[kept[index]].append(seen["input"])):
        for batch in batches:
            view.base_model(batch[:, :-1], use_cache=False)
            progress(len(batch))
    kept_states = {layer: tuple(hidden) for layer, hidden in states.items()}
    return LayerInputs(tuple(batches), kept_states, tuple(removed), text, context, kinds == {True})


def loss_without(
    model: PreTrainedModel, inputs: LayerInputs, layer: int, *, progress: Progress = no_progress
) -> LanguageModelling:
    """Return the loss when one more layer is removed; only the layers behind it run.

    It equals `language_modelling` of the model without the base set and this layer.

    Args:
        model: the dense model that gave the inputs; stays as it is.
        inputs: what `layer_inputs` returned.
        layer: number of the layer in the dense model.
        progress: called with the windows of each finished batch.

    Raises:
        ValueError: the layer does not exist, is removed already or is the last one, or the loss is not a
            finite number.
    """
    full = blocks(model)
    removed = check_layers([*inputs.removed, layer], len(full))
    behind = {later: full[later] for later in kept_layers(len(full), removed) if later > layer}
    view = with_blocks(model, {layer: _Feed(inputs.states[layer], inputs.tuples), **behind})
    return batches_loss(view, inputs.batches, inputs.text, context=inputs.context, progress=progress)


def traverse(
    model: PreTrainedModel,
    ids: Sequence[int],
    text: str = "",
    *,
    window: int = 512,
    context: int = 0,
    batch_size: int = 4,
    removed: Sequence[int] = (),
    candidates: Sequence[int] | None = None,
    progress: Progress = no_progress,
) -> dict[int, LanguageModelling]:
    """Return, for each candidate layer, the loss when it is removed on top of a base set.

    With L layers, L + L (L - 1) / 2 blocks run for a batch: about half of what L pruned models would take.

    Args:
        model: the dense model; stays as it is.
        ids: the token stream.
        text: the text that the ids encode, for the counts of words and bytes.
        window: predicted tokens a window.
        context: tokens before each window that are read and not predicted.
        batch_size: windows a batch.
        removed: layers already removed.
        candidates: layers to remove, one at a time; None for all that are left.
        progress: called with the windows of each batch, in the shared pass and in that of each layer.

    Raises:
        ValueError: as `layer_inputs` and `loss_without`; all but a loss that is not finite is seen before any
            work is done.

    Source: Song et al. 2024, arXiv 2411.10069, figure 2.
    """
    layers = depth(model.config)
    chosen = kept_layers(layers, removed) if candidates is None else candidates
    for layer in chosen:
        check_layers([*removed, layer], layers)
    inputs = layer_inputs(
        model,
        ids,
        text,
        window=window,
        context=context,
        batch_size=batch_size,
        removed=removed,
        progress=progress,
    )
    return {layer: loss_without(model, inputs, layer, progress=progress) for layer in chosen}


def tokens_of_repairs(tokens: int, repair: int, removal: int) -> tuple[int, int]:
    """Return how many first tokens of a text `greedy_repaired` refits on, and how many next ones it predicts.

    Args:
        tokens: of the text that is scored.
        repair: most tokens to refit on; half of the text at most.
        removal: most tokens to predict.

    Example:
        >>> tokens_of_repairs(8192, 1024, 1280), tokens_of_repairs(512, 1024, 1280)
        ((1024, 1280), (256, 256))
    """
    fitted = min(repair, tokens // 2)
    return fitted, min(removal, tokens - fitted)


def greedy_order(
    loss_of: Callable[[Sequence[int]], Mapping[int, float]], count: int, candidates: Sequence[int]
) -> list[int]:
    """Return layers in the order of greedy removal: at each step the one whose removal costs least.

    Args:
        loss_of: takes the layers removed so far, in order, and returns the loss of removing each further one,
            by layer number; layers that are not candidates are ignored.
        count: layers to remove.
        candidates: layers that may be removed; ties go by index.

    Raises:
        ValueError: there are fewer candidates than layers to remove.

    Source: Kim et al. 2024, arXiv 2402.02834 (perplexity of the model without a layer, taken once), repeated
    after each removal as in Song et al. 2024, arXiv 2411.10069.

    Example:
        >>> greedy_order(lambda removed: {0: 3.0, 1: 1.0, 2: 2.0}, 2, range(3))
        [1, 2]
    """
    free = set(candidates)
    if not 0 <= count <= len(free):
        raise ValueError(f"cannot remove {count} layers: there are {len(free)} candidates")
    order: list[int] = []
    for _ in range(count):
        losses = loss_of(order.copy())
        order.append(min(free, key=lambda layer: (losses[layer], layer)))
        free.remove(order[-1])
    return order


class _Feed(nn.Module):
    """Stands where a block was and returns stored hidden states, one a call."""

    attention_type = "full_attention"  # some versions of transformers 5 choose a block's mask by it

    def __init__(self, states: Iterable[Float[Tensor, "_ _ hidden"]], as_tuples: bool) -> None:
        super().__init__()
        self.states, self.as_tuples = iter(states), as_tuples

    def forward(self, *_args: Any, **_kwargs: Any) -> Any:
        # Most blocks return a tensor since transformers 5. A model that expects a tuple would take the first
        # sample of a tensor for all.
        state = next(self.states)
        return (state, None) if self.as_tuples else state
