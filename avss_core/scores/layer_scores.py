"""Score the layers of a loaded model on texts: measure what a score needs, and no more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.evaluation.perplexity import LanguageModelling, language_modelling
from avss_core.models.architectures import context_length, depth, reads_both_ways
from avss_core.models.batches import Batch, text_batches, token_stream
from avss_core.progress import Progress, no_progress
from avss_core.scores.choice import choose_layers, count_to_remove
from avss_core.scores.evidence import (
    Evidence,
    Measured,
    measured_losses,
    measured_residuals,
    measured_statistics,
)
from avss_core.scores.ranking import authors_choice, cumulate, normalise, rank
from avss_core.scores.repairability import layer_residuals
from avss_core.scores.score_records import ScoredLayers
from avss_core.scores.scores import find_score, shot_noise
from avss_core.scores.stability import Stability, resampled, stability
from avss_core.scores.traversal import greedy_order, tokens_of_repairs, traverse
from avss_core.statistics.collection import collect_statistics
from avss_core.statistics.statistics import Thresholds
from avss_core.surgery.repair.small_repair import repaired_without

THRESHOLDS = Thresholds(absolute=1e-5, relative=0.1)
"""The default thresholds, as in `params.yaml`."""

REMOVAL_TOKENS = 1280
"""At most this many tokens measure the loss without each layer: every layer is removed on all of them."""

REPAIR_TOKENS = 1024
"""At most this many tokens before them are refitted on by `greedy_repaired`."""


@dataclass(frozen=True)
class LayerScores:
    """A score of every layer of a model; the lowest are pruned first."""

    score: str
    values: Float[Tensor, " layers"]
    """In depth order, float64."""
    shot_noise: tuple[int, ...] = ()
    """Layers in which too few activations are small for the score to be trusted; more text helps."""
    parts: tuple[Evidence, ...] = ()
    """What the score saw of each part of the text; empty if it depends on no text, and for greedy removal."""

    @classmethod
    def of(cls, score: str, measured: Measured) -> "LayerScores":
        """Return the scores that follow from what was measured.

        Raises:
            LookupError: the score is unknown.
            ValueError: what the score needs was not measured.
        """
        values = find_score(score).function(measured.whole)
        return cls(score, values, tuple(shot_noise(score, measured.whole)), measured.parts)

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
            ratio: as in `lowest`.
            protect_first: as in `lowest`.
            protect_last: as in `lowest`.
            resamples: how often the parts are drawn.
            seed: of the drawing.

        Raises:
            ValueError: the score was measured on no text in parts or on too few, or as `choose_layers`.
        """
        if not self.parts:
            raise ValueError(f"the score {self.score!r} has no text in parts that could be drawn anew")
        choose = partial(choose_layers, ratio=ratio, protect_first=protect_first, protect_last=protect_last)
        scores = map(find_score(self.score).function, resampled(self.parts, resamples, seed))
        return stability(choose(self.values), list(scores), choose)

    def record(self, ratio: float, *, protect_first: int = 0, protect_last: int = 0) -> ScoredLayers:
        """Return the scores and the layers that `lowest` removes, as JSON.

        Raises:
            ValueError: as `choose_layers`.
        """
        score = find_score(self.score)
        record: ScoredLayers = {
            "score": self.score,
            "reference": score.reference,
            "needs": score.needs,
            "scores": self.values.tolist(),
            "normalised": self.shares.tolist(),
            "cumulative": cumulate(self.values, score.running).tolist(),
            "removed": choose_layers(
                self.values, ratio, protect_first=protect_first, protect_last=protect_last
            ),
            "shot_noise": list(self.shot_noise),
        }
        if score.running == "depth":
            record["own_rule"] = authors_choice(self.values, ratio)
        return record


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
        tokens: read at most; scores that remove layers read `REMOVAL_TOKENS` of them, and `greedy_repaired`
            `REPAIR_TOKENS` before these.
        window: tokens a window, less where the model's context is shorter; `traversal` and `greedy` predict
            the second half of each behind the first, and the windows of `repairability` are half as long.
        batch_size: windows a batch; except `avss_authors`, a score depends on it only to rounding.
        parts: parts in which the windows are measured, for `LayerScores.stability`; for `traversal` and
            `repairability` each window is one.
        skip_first: leave out the first position of each window, which holds the massive activations.
        ratio: share of the layers to remove; `greedy` and `greedy_repaired` alone use it and rank that many.
        seed: of the score `random`.
        progress: called for each finished batch; in removals as `avss_core.scores.traversal.traverse` does.

    Raises:
        LookupError: the score or the model's family is unknown.
        TypeError: the texts are one string, not a list of them.
        ValueError: the texts hold no text, or too little of it, or an activation is not a finite number.
    """
    if isinstance(texts, str):
        raise TypeError(f"texts must be a list of strings, got the string {texts[:30]!r}: write [text]")
    record = find_score(score)
    bare = Evidence(depth(model.config), seed)
    window = min(window, context_length(model.config) or window)
    if record.needs == "nothing":
        return LayerScores.of(score, Measured(bare))
    encoder = reads_both_ways(model.config)
    read = partial(
        text_batches, tokenizer, texts, batch_size=batch_size, skip_first=skip_first, encoder=encoder
    )
    if record.needs == "statistics":
        dealt = [read(tokens=tokens, window=window, part=part, parts=parts) for part in range(parts)]
        counted = [part for part in dealt if any(batch.counted.any() for batch in part)] or dealt[:1]
        seen = [_statistics(model, part, record.site or "update", thresholds, progress) for part in counted]
        return LayerScores.of(score, measured_statistics(seen))
    context = window // 2
    if record.needs == "residuals":
        seen_windows = read(tokens=min(tokens, REMOVAL_TOKENS), window=window - context)
        left = layer_residuals(model, seen_windows, progress=progress)
        residuals = {each.layer: each.residuals for each in left}
        outputs = {each.layer: each.outputs for each in left}
        return LayerScores.of(score, measured_residuals(bare, residuals, outputs))
    if record.needs == "repaired_order":
        fitted, predicted = tokens_of_repairs(tokens, REPAIR_TOKENS, REMOVAL_TOKENS)
        loss_of = partial(
            _losses_after_repair,
            model,
            read(tokens=fitted, window=window),
            token_stream(tokenizer, texts, fitted + predicted)[fitted:],
            window=window,
            progress=progress,
        )
        order = greedy_order(loss_of, count_to_remove(bare.layers, ratio), range(bare.layers))
        return LayerScores.of(score, Measured(replace(bare, order=order)))
    removals = partial(
        traverse,
        model,
        token_stream(tokenizer, texts, min(tokens, REMOVAL_TOKENS)),
        window=window - context,
        context=context,
        batch_size=batch_size,
        progress=progress,
    )
    if record.needs == "losses":
        without = removals()
        means = {layer: loss.window_means for layer, loss in without.items()}
        return LayerScores.of(score, measured_losses(bare, _per_token(without), means))
    order = greedy_order(
        lambda removed: _per_token(removals(removed=removed)),
        count_to_remove(bare.layers, ratio),
        range(bare.layers),
    )
    return LayerScores.of(score, Measured(replace(bare, order=order)))


def _losses_after_repair(
    model: PreTrainedModel,
    batches: Sequence[Batch],
    ids: Sequence[int],
    removed: Sequence[int],
    *,
    window: int,
    progress: Progress,
) -> dict[int, float]:
    """Return the loss of `ids` without each layer more, after a small repair on `batches`."""
    losses = {}
    for layer in range(depth(model.config)):
        if layer not in removed:
            without = repaired_without(model, sorted([*removed, layer]), batches, progress=progress)
            losses[layer] = language_modelling(without, ids, "", window=window).nll_per_token
    return losses


def _statistics(
    model: PreTrainedModel, batches: Sequence[Batch], site: str, thresholds: Thresholds, progress: Progress
) -> Evidence:
    """Return the statistics of a part of the text at one site."""
    statistics = collect_statistics(model, batches, sites=[site], thresholds=thresholds, progress=progress)
    return Evidence(len(statistics), statistics=statistics, tokens=sum(batch.tokens for batch in batches))


def _per_token(losses: Mapping[int, LanguageModelling]) -> dict[int, float]:
    """Return the loss without each layer."""
    return {layer: loss.nll_per_token for layer, loss in losses.items()}
