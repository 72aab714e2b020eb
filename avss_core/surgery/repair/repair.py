"""Repair a pruned model in closed form: each kept block is refitted towards what the dense model computes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from avss_core.models.architectures import blocks, depth
from avss_core.models.batches import Batch
from avss_core.models.views import sharing_copy
from avss_core.progress import Progress, no_progress
from avss_core.surgery.repair.gram import check_ridges
from avss_core.surgery.repair.outlets import check_outlets, check_passage, outlets
from avss_core.surgery.repair.post_norm import StreamOutlet
from avss_core.surgery.repair.refitting import Refit, Work, held_out_windows
from avss_core.surgery.repair.resume import Span, Spool

RIDGES = tuple(10 ** (exponent / 4) for exponent in range(-32, 1))
"""Penalties that are tried on held-out windows, as shares of the inputs' mean square: 1e-8 to 1.

Larger ones, which hardly change a weight, are often a block's best and not the model's: what a block leaves,
all blocks behind it must make good on inputs that they do not know.
"""

HELD_OUT = 4
"""One window of so many is held out while the ridge is chosen."""

ATTENTION = True
"""Whether the attention's output projection is refitted too."""

ANTICIPATION = 0.0
"""Share of a gap that is left to the block before the one at the gap."""


def goals(kept: Sequence[int], layers: int) -> list[int]:
    """Return for each kept block the dense layer whose output it aims at: the one before the next kept one.

    Example:
        >>> goals([0, 2, 3], 6)
        [1, 2, 5]
    """
    return [following - 1 for following in [*kept[1:], layers]]


def first_to_repair(kept: Sequence[int], layers: int) -> int:
    """Return the number of the first kept block with a gap right before or behind it.

    Raises:
        ValueError: no layer is missing.

    Example:
        >>> first_to_repair([0, 1, 4, 5], 6)
        1
    """
    for number, (layer, goal) in enumerate(zip(kept, goals(kept, layers), strict=True)):
        if layer != number or goal != layer:
            return number
    raise ValueError(f"no layer of {layers} is missing; there is nothing to repair")


def repair(
    pruned: PreTrainedModel,
    dense: PreTrainedModel,
    kept: Sequence[int],
    batches: Sequence[Batch],
    **options: Any,
) -> tuple[PreTrainedModel, list[Refit]]:
    """Return a repaired copy of a pruned model, and what was changed in each block.

    The copy shares every tensor that stays with the pruned model, which stays as it is.

    Args:
        pruned: the pruned model.
        dense: the model that it was pruned from; stays as it is.
        kept: old number of each layer of the pruned model, ascending.
        batches: calibration windows.
        options: those of `refits`.

    Raises:
        ValueError: as `refits`; `UnrepairableError` is one.
    """
    repaired = sharing_copy(pruned)
    return repaired, list(refits(repaired, dense, kept, batches, **options))


def refits_attention(model: PreTrainedModel) -> bool:
    """Tell whether the attention's output projection can be refitted: in an encoder its MLP's alone can."""
    return len(outlets(model, 0)) > 1


def passes(
    kept: Sequence[int], layers: int, *, attention: bool = ATTENTION, anticipation: float = ANTICIPATION
) -> int:
    """Return how many blocks each window passes in a whole repair, of both models together."""
    first = first_to_repair(kept, layers)
    first = max(first - 1, 0) if anticipation else first
    return layers + (len(kept) - first) * (1 + attention)


def refits(
    pruned: PreTrainedModel,
    dense: PreTrainedModel,
    kept: Sequence[int],
    batches: Sequence[Batch],
    *,
    ridges: Sequence[float] = RIDGES,
    held_out: int = HELD_OUT,
    attention: bool = ATTENTION,
    anticipation: float = ANTICIPATION,
    known: Sequence[Refit] = (),
    folder: Path | None = None,
    progress: Progress = no_progress,
) -> Iterator[Refit]:
    """Refit the kept blocks of a pruned model in place, from the first gap on, and yield each when done.

    In depth order; h is what a projection reads in the model repaired so far, goal the dense model's output
    right before the next kept layer:  W' = W + argmin sum w |h dW - (goal - output)|^2 + ridge |dW|^2, over
    tokens, with w as `projections.token_weights` has it: an error counts relative to its token. First the
    projection of the attention, then that of the MLP, each on what the one before left. The ridge is chosen
    on held-out windows, then all windows are fitted with it; a projection stays where nothing is missing.

    Sums run in float64 over the positions that the batches count. Split, order and padding of the windows do
    not matter. Memory: the Gram matrices of one block; three hidden states a token are on disk, and what one
    projection reads. Work: each token passes each dense block once, and each kept block behind the gap once a
    projection (once more where a norm stands behind the last one).

    Args:
        pruned: changed in place, tensor by tensor; a tensor that it shares with another model is replaced.
        dense: the model that it was pruned from; stays as it is.
        kept: old number of each layer of the pruned model, ascending.
        batches: calibration windows; every real position counts, whatever the batches leave out elsewhere.
        ridges: what to choose from (dimensionless, > 0); one alone is taken as it is.
        held_out: one window of so many is held out, at least 2.
        attention: whether the attention's output projection is refitted too, where `refits_attention`.
        anticipation: share of what the layers removed behind the next kept block add that a block aims at
            already, from 0 to 1; with more than 0 the block before the first gap's is refitted too.
        known: what an earlier run of the same repair yielded, which is applied and not made again.
        folder: where the states are spooled and removed again; None for the system's temporary folder.
        progress: told of each batch's windows, once a pass through a block.

    Raises:
        UnrepairableError: the family cannot be repaired (named).
        ValueError: the layers do not fit the models, there is nothing to repair, there is no token, or an
            activation is not a finite number.
    """
    layers = depth(dense.config)
    _check(pruned, kept, layers, batches, ridges, held_out, anticipation)
    check_outlets(pruned)
    attention = attention and refits_attention(pruned)
    first, aims = first_to_repair(kept, layers), goals(kept, layers)
    first = max(first - 1, 0) if anticipation else first
    done = {refit.layer: refit for refit in known}
    with TemporaryDirectory(dir=folder) as room:
        work = Work(batches, held_out_windows(batches, held_out if len(ridges) > 1 else 0), ridges, progress)
        ours, theirs, goal = (Spool(Path(room, name), batches) for name in ("pruned", "dense", "goal"))
        features = Path(room, "features")
        _check_passage(pruned, batches[0])
        work.begin(dense, first, aims[first], ours, theirs)
        for number in range(first, len(kept)):
            source = None if number == 0 else ours
            following = range(aims[number] + 1, aims[min(number + 1, len(kept) - 1)] + 1)
            work.look_ahead(dense, following, theirs, goal, anticipation)
            if number in done:
                work.replay(pruned, done[number], (source, ours), features)
                progress((1 + attention) * sum(len(batch.ids) for batch in batches))
            else:
                done[number] = work.refit(pruned, number, (source, ours), goal, attention, features)
            yield done[number]


def check_repairable(model: PreTrainedModel, batch: Batch) -> None:
    """Return nothing where the blocks of a model can be refitted.

    Args:
        model: stays as it is.
        batch: tried out on the first block.

    Raises:
        UnrepairableError: they cannot. Names the family.
    """
    check_outlets(model)
    _check_passage(sharing_copy(model), batch)


@torch.no_grad()
def _check_passage(model: PreTrainedModel, batch: Batch) -> None:
    """Try out on the first block whether its last projection writes where its family's record says.

    Raises:
        UnrepairableError: it does not.
    """
    outlet, rest = outlets(model, 0)[-1], list[Tensor]()

    def tried() -> tuple[Tensor, Tensor]:
        span = Span(model, [0], watch=outlet.watched)
        output = span.run(batch, None)[0]
        rows = batch.attention.to(output.device)
        inputs, *sums = (span.seen(path, output)[rows] for path in outlet.watched)
        if not isinstance(outlet, StreamOutlet):
            return output[rows], outlet.added(inputs)
        rest[:] = rest or [outlet.rest(inputs, *sums)]  # of the first time, which the change leaves alone
        return output[rows], outlet.written(inputs, *rest)

    old = outlet.stored()
    output, added = tried()
    try:
        outlet.store(old["weight"] + old["weight"].roll(1, 0) / 2)
        moved, more = tried()
    finally:
        outlet.store(**old)
    check_passage(output, moved, more - added, str(model.config.model_type))


def _check(
    pruned: PreTrainedModel,
    kept: Sequence[int],
    layers: int,
    batches: Sequence[Batch],
    ridges: Sequence[float],
    held_out: int,
    anticipation: float,
) -> None:
    """Refuse what does not fit together, before any work is done."""
    if list(kept) != sorted(set(kept)) or not kept or kept[0] < 0 or kept[-1] >= layers:
        raise ValueError(
            f"kept layers {list(kept)} are not ascending numbers of the dense model's {layers}; "
            "give the model that was pruned"
        )
    if len(blocks(pruned)) != len(kept):
        raise ValueError(f"{len(kept)} kept layers are named, but the pruned model has {len(blocks(pruned))}")
    if not batches:
        raise ValueError("there are no calibration windows")
    check_ridges(ridges)
    if not 0 <= anticipation <= 1:
        raise ValueError(f"anticipation {anticipation} does not lie between 0 and 1")
    if held_out < 2:
        raise ValueError(f"held_out is {held_out}: one window of at least 2 can be held out")
