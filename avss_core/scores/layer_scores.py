"""Score the layers of a loaded model on texts: measure what a score needs, and no more."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.evaluation.perplexity import LanguageModelling
from avss_core.models.architectures import context_length, depth
from avss_core.models.batches import Batch, text_batches, token_stream
from avss_core.progress import Progress, no_progress
from avss_core.scores.choice import choose_layers, count_to_remove
from avss_core.scores.ranking import normalise, rank
from avss_core.scores.scores import Evidence, Thresholds, find_score, shot_noise
from avss_core.scores.stability import Stability, draws, stability
from avss_core.scores.traversal import greedy_order, traverse
from avss_core.statistics.collection import collect_statistics
from avss_core.statistics.statistics import merge_statistics

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
    parts: tuple[Evidence, ...] = ()
    """What the score saw of each part of the text; none where it hangs on no text, and of greedy removal."""

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

    def stability(
        self,
        ratio: float,
        *,
        protect_first: int = 0,
        protect_last: int = 0,
        resamples: int = 100,
        seed: int = 0,
    ) -> Stability:
        """Return what other text of this kind would have chosen: the parts of the text, drawn anew.

        Args:
            ratio: as of `lowest`.
            protect_first: as of `lowest`.
            protect_last: as of `lowest`.
            resamples: how often the parts are drawn.
            seed: of the drawing.

        Raises:
            ValueError: the score was measured on no text in parts, or as `choose_layers`.
        """
        if not self.parts:
            raise ValueError(f"the score {self.score!r} has no text in parts that could be drawn anew")
        function = find_score(self.score).function

        def chosen(values: Float[Tensor, " layers"]) -> list[int]:
            return choose_layers(values, ratio, protect_first=protect_first, protect_last=protect_last)

        drawn = draws(len(self.parts), resamples, seed)
        choices = [chosen(function(_together([self.parts[i] for i in each]))) for each in drawn]
        return stability(chosen(self.values), choices, len(self.values))


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
    parts: int = 8,
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
        score: a key of `avss_core.scores.scores.SCORES`.
        thresholds: activation magnitudes that count as zero.
        tokens: read at most; `traversal` and `greedy` read `REMOVAL_TOKENS` of them.
        window: tokens a window, less where the model's context is shorter; `traversal` and `greedy` predict
            the second half of each behind the first.
        batch_size: windows a batch; the score depends on it only to rounding, but for `avss_authors`.
        parts: in which the windows are measured, for `LayerScores.stability`; of `traversal` each window is
            one.
        skip_first: leave out the first position of each window, which holds the massive activations.
        ratio: of the layers that shall go, which `greedy` alone asks: it ranks so many.
        seed: of the score `random`.
        progress: told of each finished batch; of removals, as `avss_core.scores.traversal.traverse`.

    Raises:
        LookupError: the score or the model's family is unknown.
        TypeError: the texts are one string, not a list of them.
        ValueError: the texts hold no text, or too little of it, or an activation is not a finite number.
    """
    if isinstance(texts, str):
        raise TypeError(f"texts must be a list of strings, got the string {texts[:30]!r}: write [text]")
    record = find_score(score)
    bare = Evidence(depth(model.config), thresholds, seed)
    window = min(window, context_length(model.config) or window)
    whole = bare
    seen: list[Evidence] = []
    if record.needs == "statistics":
        dealt = [
            text_batches(
                tokenizer,
                texts,
                tokens=tokens,
                window=window,
                batch_size=batch_size,
                skip_first=skip_first,
                part=part,
                parts=parts,
            )
            for part in range(parts)
        ]
        counted = [part for part in dealt if any(batch.counted.any() for batch in part)] or dealt[:1]
        seen = [_statistics(model, part, bare, record.site or "update", progress) for part in counted]
        whole = _together(seen)
    elif record.needs != "nothing":
        ids, context = token_stream(tokenizer, texts, min(tokens, REMOVAL_TOKENS)), window // 2
        removals = partial(
            traverse,
            model,
            ids,
            window=window - context,
            context=context,
            batch_size=batch_size,
            progress=progress,
        )
        whole, seen = _removals(removals, bare, count_to_remove(bare.layers, ratio), record.needs == "order")
    return LayerScores(score, record.function(whole), tuple(shot_noise(score, whole)), tuple(seen))


def _statistics(
    model: PreTrainedModel, batches: Sequence[Batch], bare: Evidence, site: str, progress: Progress
) -> Evidence:
    """Return the statistics of a part of the text at one site."""
    thresholds = bare.thresholds
    found = collect_statistics(
        model,
        batches,
        sites=[site],
        absolute=[thresholds.absolute],
        relative=[thresholds.relative],
        progress=progress,
    )
    return replace(bare, statistics=found)


def _removals(
    traversed: Callable[..., Mapping[int, LanguageModelling]], bare: Evidence, count: int, in_turn: bool
) -> tuple[Evidence, list[Evidence]]:
    """Return the loss without each layer, whole and by window; or the order in which some go in turn."""
    if in_turn:
        order = greedy_order(
            lambda removed: _per_token(traversed(removed=removed)), count, range(bare.layers)
        )
        return replace(bare, order=order), []
    found = traversed()
    by_window = zip(*(each.window_means for each in found.values()), strict=True)
    windows = [replace(bare, losses=dict(zip(found, means, strict=True))) for means in by_window]
    return replace(bare, losses=_per_token(found)), windows


def _per_token(found: Mapping[int, LanguageModelling]) -> dict[int, float]:
    """Return the loss without each layer."""
    return {layer: each.nll_per_token for layer, each in found.items()}


def _together(parts: Sequence[Evidence]) -> Evidence:
    """Return what a score sees of several parts of a text; losses are means, since windows count alike."""
    if parts[0].statistics is not None:
        return replace(parts[0], statistics=merge_statistics([part.collected() for part in parts]))
    losses = [part.losses or {} for part in parts]
    means = {layer: sum(each[layer] for each in losses) / len(losses) for layer in losses[0]}
    return replace(parts[0], losses=means)
