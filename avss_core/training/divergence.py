"""How far a trained model has moved from its base: KL divergence of next-token distributions on a text."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from avss_core.evaluation.perplexity import window_batches
from avss_core.progress import Progress, no_progress
from avss_core.training.distillation import kl_divergence
from avss_core.training.teacher import Teacher

SLICE_TOKENS = 256
"""Tokens whose logits, over the whole vocabulary, are in memory at a time for each of the two models."""


def text_divergence(
    base: PreTrainedModel,
    model: PreTrainedModel,
    ids: Sequence[int],
    *,
    window: int,
    batch_size: int = 4,
    progress: Progress = no_progress,
) -> tuple[float, ...]:
    """Return KL(base || model) of each window of a text: nats a token, at least 0.

    The windows are those of `perplexity.language_modelling`; each token but the first is predicted once.

    Args:
        base: a causal language model.
        model: another one with the same vocabulary.
        ids: the token stream.
        window: predicted tokens a window.
        batch_size: windows a batch.
        progress: called with the number of windows of each finished batch.

    Raises:
        ValueError: the vocabularies differ, the divergence is not a finite number, or as `window_batches`.
    """
    words = [int(each.config.vocab_size) for each in (base, model)]
    if words[0] != words[1]:
        raise ValueError(f"models over {words[0]} and {words[1]} words do not share a vocabulary to compare")
    before, after = Teacher(base), Teacher(model)
    means: list[float] = []
    for batch in window_batches(model, ids, window, batch_size):
        sequences = [tuple(row) for row in batch[:, :-1].tolist()]
        hidden = [torch.split(each.ask(sequences)[1].flatten(0, 1), SLICE_TOKENS) for each in (before, after)]
        divergences = [
            kl_divergence(before.logits(old), after.logits(new).to(old.device))
            for old, new in zip(*hidden, strict=True)
        ]
        rows = torch.cat(divergences).double().view(len(sequences), -1).mean(1)
        if not rows.isfinite().all():
            raise ValueError("the divergence is not a finite number: a model's weights hold NaN or infinity")
        means += rows.clamp(min=0).tolist()
        progress(len(sequences))
    return tuple(means)
