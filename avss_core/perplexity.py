"""Language modelling: mean negative log-likelihood of a text, and the perplexities that follow from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from avss_core.generation import Progress, no_progress


@dataclass(frozen=True)
class LanguageModelling:
    """Summed loss of a text in nats, with the counts that it is divided by."""

    nll: float
    tokens: int
    words: int
    bytes: int
    window_means: tuple[float, ...]
    """Mean loss of each window, in text order, from which intervals are drawn."""

    @property
    def nll_per_token(self) -> float:
        """Return nats a token."""
        return self.nll / self.tokens

    def perplexities(self) -> dict[str, float]:
        """Return the perplexity per token, per word and per byte; lower is better."""
        counts = {"token": self.tokens, "word": self.words, "byte": self.bytes}
        return {f"{unit}_perplexity": math.exp(min(self.nll / n, 700.0)) for unit, n in counts.items()}


@torch.inference_mode()
def language_modelling(
    model: PreTrainedModel,
    ids: Sequence[int],
    text: str,
    *,
    window: int = 512,
    batch_size: int = 4,
    progress: Progress = no_progress,
) -> LanguageModelling:
    """Return the loss of a token stream in disjoint windows; each token but the first is predicted once.

    A window starts with the last token of the one before, so that no token goes unpredicted.

    Args:
        model: a causal language model.
        ids: the token stream.
        text: the text that the ids encode, for the counts of words and bytes.
        window: predicted tokens a window.
        batch_size: windows a batch.
        progress: told of each finished batch's windows.

    Raises:
        ValueError: there are fewer than two tokens, a window does not fit the model's context, or the loss is
            not a finite number.
    """
    if len(ids) < 2:
        raise ValueError(f"a text of {len(ids)} tokens has nothing to predict; give at least 2")
    room = getattr(model.config, "max_position_embeddings", None)
    if room is not None and min(window, len(ids) - 1) > room:
        raise ValueError(f"a window of {window} tokens does not fit the model's {room} positions")
    pieces = [list(ids[i : i + window + 1]) for i in range(0, len(ids) - 1, window)]
    total, means = 0.0, []
    for group in _equal_lengths(pieces, batch_size):
        tokens = torch.tensor(group, device=model.device)
        logits = model(tokens[:, :-1], use_cache=False).logits.float()
        # Flat: over a transposed view of the logits the same sum takes seven times as long.
        flat = cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        losses = flat.double().view(len(group), -1)
        total += float(losses.sum())
        means += losses.mean(1).tolist()
        progress(len(group))
    if not math.isfinite(total):
        raise ValueError("the loss is not a finite number; load the model in float32 or check its weights")
    words = max(1, len(text.split()))
    return LanguageModelling(total, len(ids) - 1, words, max(1, len(text.encode())), tuple(means))


def _equal_lengths(pieces: Sequence[list[int]], batch_size: int) -> list[list[list[int]]]:
    """Return batches of windows of one length; only the last window can be shorter."""
    batches: list[list[list[int]]] = []
    for piece in pieces:
        if batches and len(batches[-1]) < batch_size and len(batches[-1][0]) == len(piece):
            batches[-1].append(piece)
        else:
            batches.append([piece])
    return batches
