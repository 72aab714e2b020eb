"""Evaluate an encoder: reviews by its own head or a fitted one, and the loss of hidden words."""

from pathlib import Path

from avss_core.caching.loaded_model import model_at
from avss_core.data.rows import read_documents, read_prepared
from avss_core.display.steps import progress
from avss_core.evaluation.classification import (
    LinearHead,
    has_classes,
    positive_probabilities,
    text_means,
)
from avss_core.evaluation.masked import EVERY, hides_words, masked_modelling
from avss_core.jobs.evaluation.evaluation_records import EncoderFigures
from avss_core.jobs.evaluation.reviews import review_answers
from avss_core.jobs.evaluation.summaries import review_figures
from avss_core.metrics.comparison import mean_with_interval
from avss_core.models.batches import token_stream
from avss_core.models.room import BatchSize

HEAD_REVIEWS = 2000
"""Train reviews, at most, to which a head is fitted where an encoder has none."""


def evaluate_encoder(
    model: Path,
    prepared: Path,
    *,
    dtype: str,
    device: str,
    limit: int | None,
    tokens: int,
    window: int,
    batch_size: BatchSize,
    seed: int,
) -> EncoderFigures:
    """Return the figures of an encoder on reviews and, if it has a head over its words, on text.

    Args:
        model: a checkpoint folder.
        prepared: the folder of the prepared rows and text.
        dtype: of the model.
        device: of the model.
        limit: test reviews, at most; None for all.
        tokens: of the test text, at most.
        window: tokens a window.
        batch_size: texts a batch.
        seed: of the intervals.
    """
    network, tokenizer = model_at(model, dtype, device)
    head, said = None, "the checkpoint's own"
    if not has_classes(network):
        learnt = read_prepared(prepared / "sst2" / "train.jsonl", 0, HEAD_REVIEWS)
        with progress("head for reviews", len(learnt), "reviews") as advance:
            means = text_means(
                network, tokenizer, [row["text"] for row in learnt], batch_size=batch_size, progress=advance
            )
        head = LinearHead.fit(means, [row["label"] for row in learnt])
        said = f"linear, fitted to {head.rows:,} train reviews"
    rows = read_prepared(prepared / "sst2" / "validation.jsonl", 0, limit)
    with progress("sentiment", len(rows), "reviews") as advance:
        positive = positive_probabilities(
            network, tokenizer, [row["text"] for row in rows], head, batch_size=batch_size, progress=advance
        )
    figures: EncoderFigures = {
        "head": said,
        "sentiment": review_figures(review_answers(rows, positive), seed),
        "language_modelling": None,
    }
    if hides_words(network):
        documents = read_documents(prepared / "text" / "test.json")
        ids = token_stream(tokenizer, documents, tokens, encoder=True)
        text = str(tokenizer.decode(ids))
        with progress("hidden words", EVERY * -(-len(ids) // window), "windows") as advance:
            loss = masked_modelling(network, tokenizer, ids, text, window=window, progress=advance)
        means_of = list(loss.window_means)
        figures["language_modelling"] = {
            "nll": loss.nll_per_token,
            "tokens": loss.tokens,
            "window": window,
            "stride": window,
            "window_means": means_of,
            "window_mean": mean_with_interval(means_of, seed),
            **loss.perplexities(),
        }  # type: ignore[typeddict-item]
    return figures
