"""Text that a model draws from its own distribution, for another one to learn it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from avss_core.models.placement import input_device
from avss_core.models.room import freed_memory_kept
from avss_core.training.frozen_prefix import Ids


@torch.inference_mode()
def drawn_text(model: PreTrainedModel, openings: Sequence[Ids], window: int, seed: int) -> list[Ids]:
    """Return one window of text for each opening, drawn token by token at temperature 1.

    Our reading: nothing is cut off the distribution, so that rare words come as often as the model says; and
    a text goes on behind its end, with another one, as in the packed text that models are trained on.

    Args:
        model: a causal language model.
        openings: the first token ids of each text, of one length; they are part of the window.
        window: tokens of each text.
        seed: of the draws; the same seed, openings and device give the same text.

    Raises:
        ValueError: an opening leaves no token to draw, or they differ in length.

    Source: data-free distillation from the teacher's own generations, Liu et al. 2023, arXiv 2305.17888,
    section 3.1 (LLM-QAT), with the first token from text instead of from the whole vocabulary.
    """
    lengths = {len(ids) for ids in openings}
    if not openings:
        return []
    if len(lengths) != 1 or not 0 < min(lengths) < window:
        raise ValueError(f"openings of {sorted(lengths)} tokens do not begin windows of {window} tokens")
    device = input_device(model)
    ids = torch.tensor(openings, device=device)
    words = int(model.config.vocab_size)
    make: Any = GenerationConfig
    drawn = make(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        max_new_tokens=window - ids.shape[1],
        eos_token_id=words,  # no word has this number: nothing ends a text early
        pad_token_id=0,
    )
    devices = [device] if device.type == "cuda" else []
    with freed_memory_kept(device), torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        writer: Any = model
        texts: Tensor = writer.generate(ids, attention_mask=torch.ones_like(ids), generation_config=drawn)
    return [tuple(text) for text in texts.tolist()]
