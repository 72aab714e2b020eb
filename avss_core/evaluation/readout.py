"""Answers read out at each layer: those of the model if it ended there."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.evaluation.generation import Answer, continued, encode_prompts, end_test
from avss_core.evaluation.shared_prompt import SharedPrompt
from avss_core.models.architectures import architecture_of, blocks
from avss_core.models.batches import pad
from avss_core.models.layers import known_layers
from avss_core.models.room import BatchSize, FittingBatches
from avss_core.models.views import with_blocks
from avss_core.progress import Progress, no_progress


def answers_by_layer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    layers: Sequence[int] | None = None,
    max_new_tokens: int = 16,
    batch_size: BatchSize = 32,
    progress: Progress = no_progress,
) -> dict[int, list[Answer]]:
    """Return the greedy answers to the prompts by layer, in depth order.

    The answers of layer l are those of the model that ends behind block l: blocks 0 to l, then the final norm
    and the head; for the last layer, the model's own. Prompts are read once; a layer's answers cost its share
    of the blocks, and those of early layers seldom end before `max_new_tokens`.

    Args:
        model: a causal language model; stays as it is.
        tokenizer: its tokenizer.
        prompts: whole prompts, demonstrations included.
        layers: where to read out; None for every layer.
        max_new_tokens: longest answer.
        batch_size: prompts a batch.
        progress: called with the prompts of a batch for each finished layer.

    Raises:
        ValueError: the model is an encoder, a layer does not exist or is named twice, the configuration ties
            the kind of a layer to the depth, or as `answer_questions`.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens" (final norm and head on a hidden state).
    Our reading: each layer reads on from the tokens of its own answer, not from those of the last layer.
    """
    if not architecture_of(model).causal:
        raise ValueError(f"{model.config.model_type} is an encoder: it writes no answer to read out")
    full = blocks(model)
    chosen = range(len(full)) if layers is None else known_layers(layers, len(full))
    # The leading blocks keep their numbers, so a view of them can use a cache.
    views = {layer: with_blocks(model, dict(enumerate(full[: layer + 1]))) for layer in chosen}
    encoded = encode_prompts(model, tokenizer, prompts, max_new_tokens)
    if not prompts:
        return {layer: [] for layer in views}
    ends = end_test(model, tokenizer)
    shared = SharedPrompt(model, encoded, new_tokens=max_new_tokens)
    answers: dict[int, dict[int, Answer]] = {layer: {} for layer in chosen}
    batches = FittingBatches(model, encoded, batch_size)
    for batch_of in batches:
        with batches.tried():
            batch = pad([encoded[index][shared.length :] for index in batch_of], left=True)
            ids, real = batch.ids, batch.attention
            with torch.inference_mode():
                read = shared.rows(batch)
                if ids.shape[1] > 1:
                    read.feed(ids[:, :-1], real[:, :-1], keep=1)
                for layer, view in views.items():
                    # The blocks up to here have read all but the last token.
                    rows = read.copies(range(len(batch_of)), max_new_tokens, view)
                    last = rows.feed(ids[:, -1:], real[:, -1:], keep=1)[:, -1]
                    written = continued(tokenizer, rows, last, ends, max_new_tokens)
                    answers[layer].update(zip(batch_of, written, strict=True))
                    progress(len(batch_of))
    return {layer: [own[index] for index in range(len(prompts))] for layer, own in answers.items()}
