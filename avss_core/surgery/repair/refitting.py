"""Refit one block at a time: what its projections read and miss, the ridge, and the states that move on."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from avss_core.models.architectures import block_path
from avss_core.models.batches import Batch
from avss_core.progress import Progress
from avss_core.surgery.repair.gram import Gram, best_ridge, solve
from avss_core.surgery.repair.outlets import outlets
from avss_core.surgery.repair.projections import Outlet, token_weights
from avss_core.surgery.repair.resume import Span, Spool


@dataclass(frozen=True)
class Refit:
    """What repairing changed in one kept block."""

    layer: int
    """Number of the block in the pruned model."""
    tensors: Mapping[str, Tensor]
    """The refitted tensors by their names in the pruned model's state; empty where none was changed."""
    ridges: Mapping[str, float | None]
    """For each projection in turn the ridge chosen; None where nothing was missing."""
    errors: Mapping[str, float]
    """For each projection sum w |goal - output|^2 on held-out windows after its refit over that before it, as
    the linear model estimates it, w being `token_weights`; 1 where the projection stayed as it was."""


def apply(model: PreTrainedModel, refit: Refit) -> None:
    """Put the tensors of a refit into a pruned model, in place."""
    for outlet in outlets(model, refit.layer):
        _put(model, refit, outlet)


def _put(model: PreTrainedModel, refit: Refit, outlet: Outlet) -> None:
    """Put the tensors of a refit into one projection, if it was changed."""
    path = f"{block_path(model)}.{refit.layer}.{outlet.projection}"
    if f"{path}.weight" in refit.tensors:
        outlet.store(refit.tensors[f"{path}.weight"], refit.tensors.get(f"{path}.bias"))


class Work:
    """What all blocks share while a model is repaired."""

    def __init__(
        self,
        batches: Sequence[Batch],
        held_out: Sequence[Tensor],
        ridges: Sequence[float],
        progress: Progress,
    ) -> None:
        self.batches, self.held_out, self.ridges, self.progress = batches, held_out, ridges, progress

    @torch.no_grad()
    def begin(self, dense: PreTrainedModel, first: int, aim: int, ours: Spool, theirs: Spool) -> None:
        """Run the dense model up to the first goal; keep it, and what the first block to repair reads."""
        span = Span(dense, range(aim + 1))
        for index, batch in enumerate(self.batches):
            outputs = span.run(batch, None)
            if first:
                ours.write(index, outputs[first - 1])
            theirs.write(index, outputs[aim])
            self.progress(len(batch.ids) * (aim + 1))

    @torch.no_grad()
    def look_ahead(
        self, dense: PreTrainedModel, layers: Sequence[int], theirs: Spool, goal: Spool, share: float
    ) -> None:
        """Write a block's goal, and take the dense model to that of the next block.

        Args:
            dense: the dense model.
            layers: the next kept layer and those removed behind it; none behind the last block.
            theirs: what the dense model computes right before them, then behind them.
            goal: what it computes right before them, and a share of what the removed ones add.
            share: from 0 to 1.
        """
        span = Span(dense, layers) if layers else None
        for index, batch in enumerate(self.batches):
            here = theirs.read(index)
            if span is not None:
                outputs = span.run(batch, here)
                theirs.write(index, outputs[layers[-1]])
                if share:
                    here = here + share * (outputs[layers[-1]] - outputs[layers[0]])
                self.progress(len(batch.ids) * len(layers))
            goal.write(index, here)

    @torch.no_grad()
    def replay(
        self, model: PreTrainedModel, refit: Refit, states: tuple[Spool | None, Spool], features: Path
    ) -> None:
        """Put a known refit into the model, and take the states through it as `refit` does, to the bit."""
        *first, last = outlets(model, refit.layer)
        for outlet in first:
            _put(model, refit, outlet)
        old, inputs = (last.weight, last.bias), Spool(features, self.batches)
        if not last.norm:
            self._advance(model, refit.layer, states, (last, inputs))
        _put(model, refit, last)
        if last.norm:
            self._advance(model, refit.layer, states)
        elif any(
            name.startswith(f"{block_path(model)}.{refit.layer}.{last.projection}.") for name in refit.tensors
        ):
            self._move(old, last, inputs, states[1])

    def _advance(
        self,
        model: PreTrainedModel,
        layer: int,
        states: tuple[Spool | None, Spool],
        keep: tuple[Outlet, Spool] | None = None,
    ) -> None:
        """Run states through a block as it is now, and keep what a projection reads."""
        source, target = states
        span = Span(model, [layer], watch=keep[0].watched if keep else ())
        for index, batch in enumerate(self.batches):
            output = span.run(batch, None if source is None else source.read(index))[layer]
            target.write(index, output)
            if keep:
                keep[1].write(index, span.seen(keep[0].projection, output))

    @torch.no_grad()
    def refit(
        self,
        model: PreTrainedModel,
        layer: int,
        states: tuple[Spool | None, Spool],
        theirs: Spool,
        attention: bool,
        features: Path,
    ) -> Refit:
        """Return what lowers one block's error, having put it into the model, and take the states through it.

        Args:
            model: the model repaired so far.
            layer: number of the block.
            states: what the block reads, None for the embedding; and where its outputs go.
            theirs: the goal.
            attention: whether the attention's projection is refitted too.
            features: file for what the last projection reads, for the time of the refit.
        """
        source, target = states
        tensors: dict[str, Tensor] = {}
        chosen: dict[str, float | None] = {}
        errors: dict[str, float] = {}
        *first, last = outlets(model, layer)
        old = last.weight, last.bias
        for outlet in [*(first if attention else ()), last]:
            inputs = Spool(features, self.batches) if outlet is last and not last.norm else None
            keep = None if inputs is None else (target, inputs)
            grams = self.measure(model, layer, outlet, source, theirs, keep)
            ridge, error = self.choose(grams, outlet)
            chosen[outlet.projection], errors[outlet.projection] = ridge, error
            if ridge is None:
                continue
            grams[0].merge(grams[1])
            outlet.change(solve(grams[0], ridge, intercept=outlet.intercept))
            path = f"{block_path(model)}.{layer}.{outlet.projection}"
            tensors |= {f"{path}.{name}": tensor for name, tensor in outlet.stored().items()}
            if inputs is not None:
                self._move(old, last, inputs, target)
        if last.norm:
            self._advance(model, layer, states)
        return Refit(layer, tensors, chosen, errors)

    def _move(self, old: tuple[Tensor, Tensor | None], outlet: Outlet, inputs: Spool, target: Spool) -> None:
        """Add to the block's outputs what a refit of its last projection changes in them, which is linear."""
        step = outlet.weight - old[0]
        shift = 0 if old[1] is None or outlet.bias is None else outlet.bias - old[1]
        for index in range(len(self.batches)):
            target.write(index, target.read(index) + inputs.read(index) @ step + shift)

    def measure(
        self,
        model: PreTrainedModel,
        layer: int,
        outlet: Outlet,
        source: Spool | None,
        theirs: Spool,
        keep: tuple[Spool, Spool] | None,
    ) -> tuple[Gram, Gram]:
        """Return the moments of a projection's inputs and of what the block misses: fitted, held out.

        `keep` takes the block's outputs and the projection's inputs.

        Raises:
            ValueError: an activation is not a finite number.
        """
        sizes = outlet.features, outlet.weight.shape[1]
        grams = Gram(*sizes, outlet.device), Gram(*sizes, outlet.device)
        span = Span(model, [layer], watch=outlet.watched)
        for index, batch in enumerate(self.batches):
            state = None if source is None else source.read(index)
            output = span.run(batch, state)[layer]
            goal = theirs.read(index).to(output.device)
            inputs, *sums = (span.seen(path, output) for path in outlet.watched)
            if keep:
                keep[0].write(index, output)
                keep[1].write(index, inputs)
            for gram, held in zip(grams, (False, True), strict=True):
                rows = (batch.attention & (self.held_out[index] == held).unsqueeze(1)).to(output.device)
                problem = outlet.rows(inputs[rows], goal[rows], output[rows], *(each[rows] for each in sums))
                gram.add(*problem, token_weights(goal[rows]))
            self.progress(len(batch.ids))
        if not all(gram.is_finite() for gram in grams):
            raise ValueError(
                f"layer {layer}: an activation is not a finite number; load the models in float32 or check "
                "their weights"
            )
        return grams

    def choose(self, grams: tuple[Gram, Gram], outlet: Outlet) -> tuple[float | None, float]:
        """Return the ridge of least held-out error and that error; None and 1 where nothing is missing."""
        if len(self.ridges) == 1:
            return self.ridges[0], float("nan")
        return best_ridge(*grams, self.ridges, intercept=outlet.intercept)


def held_out_windows(batches: Sequence[Batch], one_of: int) -> list[Tensor]:
    """Return for each window of each batch whether it is held out, by its tokens alone: not by its place."""
    if not one_of:
        return [torch.zeros(len(batch.ids), dtype=torch.bool) for batch in batches]
    digests = [
        [
            hashlib.sha256(repr(ids[real].tolist()).encode()).digest()
            for ids, real in zip(b.ids, b.attention, strict=True)
        ]
        for b in batches
    ]
    order = sorted({digest for found in digests for digest in found})
    if len(order) < one_of:
        raise ValueError(
            f"choosing a ridge holds out one window of {one_of}, but there are {len(order)} different ones; "
            "give more or shorter windows, or one ridge"
        )
    held = set(order[one_of - 1 :: one_of])
    return [torch.tensor([digest in held for digest in found]) for found in digests]
