"""Score the layers of a loaded model on texts: measure what a score needs, and no more."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.architectures import context_length, depth
from avss_core.batches import text_batches, token_stream
from avss_core.collection import collect_statistics
from avss_core.progress import Progress, no_progress
from avss_core.pruning import choose_layers, count_to_remove
from avss_core.ranking import normalise, rank
from avss_core.scores import Evidence, Thresholds, find_score, shot_noise
from avss_core.traversal import greedy_order, traverse

THRESHOLDS = Thresholds(absolute=1e-5, relative=0.1)
"""What counts as zero where a caller says nothing, as in `params.yaml`."""

REMOVAL_TOKENS = 1024
"""Tokens on which the loss without each layer is measured, at most: every layer is removed on all of them."""


@dataclass(frozen=True)
class LayerScores:
    """A score of every layer of a model; the lowest are pruned first."""

    score: str
    values: Float[Tensor, " layers"]
    """In depth order, float64."""
    shot_noise: tuple[int, ...] = ()
    """Layers in which too few activations are small for the score to be trusted; more text helps."""

    @property
    def shares(self) -> Float[Tensor, " layers"]:
        """Return each layer's share of the sum of scores (NAVSS)."""
        return normalise(self.values)

    @property
    def order(self) -> list[int]:
        """Return the layers from the one to prune first."""
        return rank(self.values)

    def lowest(self, ratio: float, *, protect_first: int = 0, protect_last: int = 0) -> list[int]:
        """Return `choose_layers` of the scores: the share of the layers to remove, in depth order.

        Raises:
            ValueError: as `choose_layers`.
        """
        return choose_layers(self.values, ratio, protect_first=protect_first, protect_last=protect_last)


def score_layers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    score: str = "avss",
    *,
    thresholds: Thresholds = THRESHOLDS,
    tokens: int = 8192,
    window: int = 512,
    batch_size: int = 4,
    skip_first: bool = True,
    ratio: float = 0.25,
    seed: int = 0,
    progress: Progress = no_progress,
) -> LayerScores:
    """Return a score of every layer of a model on texts, as the pipeline measures it on its calibration text.

    Args:
        model: a causal language model; stays as it is.
        tokenizer: its tokenizer.
        texts: documents, joined by a blank line; as many as `tokens` needs are read.
        score: a key of `avss_core.scores.SCORES`.
        thresholds: activation magnitudes that count as zero.
        tokens: read at most; `traversal` and `greedy` read `REMOVAL_TOKENS` of them.
        window: tokens a window, less where the model's context is shorter; `traversal` and `greedy` predict
            the second half of each behind the first.
        batch_size: windows a batch; the score depends on it only to rounding, but for `avss_authors`.
        skip_first: leave out the first position of each window, which holds the massive activations.
        ratio: of the layers that shall go, which `greedy` alone asks: it ranks so many.
        seed: of the score `random`.
        progress: told of each finished batch; of removals, as `avss_core.traversal.traverse`.

    Raises:
        LookupError: the score or the model's family is unknown.
        ValueError: the texts hold no text, or too little of it, or an activation is not a finite number.
    """
    record = find_score(score)
    window = min(window, context_length(model.config) or window)
    known: dict[str, Any] = {}
    if record.needs == "statistics":
        known["statistics"] = collect_statistics(
            model,
            text_batches(
                tokenizer, texts, tokens=tokens, window=window, batch_size=batch_size, skip_first=skip_first
            ),
            sites=[record.site or "update"],
            absolute=[thresholds.absolute],
            relative=[thresholds.relative],
            progress=progress,
        )
    elif record.needs != "nothing":
        ids = token_stream(tokenizer, texts, min(tokens, REMOVAL_TOKENS))
        losses = partial(_losses, model, ids, window, batch_size, progress)
        if record.needs == "losses":
            known["losses"] = losses([])
        else:
            layers = depth(model.config)
            known["order"] = greedy_order(losses, count_to_remove(layers, ratio), range(layers))
    evidence = Evidence(depth(model.config), thresholds, seed, **known)
    return LayerScores(score, record.function(evidence), tuple(shot_noise(score, evidence)))


def _losses(
    model: PreTrainedModel,
    ids: Sequence[int],
    window: int,
    batch_size: int,
    progress: Progress,
    removed: Sequence[int],
) -> dict[int, float]:
    """Return the loss without each further layer, by its number."""
    context = window // 2
    found = traverse(
        model,
        ids,
        window=window - context,
        context=context,
        batch_size=batch_size,
        removed=removed,
        progress=progress,
    )
    return {layer: each.nll_per_token for layer, each in found.items()}
