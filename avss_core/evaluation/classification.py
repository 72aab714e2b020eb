"""Sentiment by classification: a head of the checkpoint's own, or a linear one that is fitted in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.models.architectures import context_length, first_position
from avss_core.models.batches import pad
from avss_core.models.encoding import encode_whole
from avss_core.models.placement import input_device
from avss_core.models.room import BatchSize, FittingBatches
from avss_core.progress import Progress, no_progress

PENALTY = 0.1
"""Inverse strength of the fitted head's penalty (scikit-learn's C), on standardised features."""


def has_classes(model: PreTrainedModel) -> bool:
    """Tell whether an encoder has a head for two classes, of which 1 is positive."""
    return type(model).__name__.endswith("ForSequenceClassification") and model.config.num_labels == 2


@dataclass(frozen=True)
class LinearHead:
    """A logistic regression on the mean of a text's last hidden states."""

    fitted: Any
    rows: int
    """Texts that it was fitted to."""

    @classmethod
    def fit(cls, features: Float[Tensor, "texts hidden"], labels: Sequence[int]) -> "LinearHead":
        """Return a head for two classes, 0 and 1.

        Raises:
            ValueError: the texts have one label alone.
        """
        if len(set(labels)) != 2:
            raise ValueError(f"a head needs texts of two labels, got {sorted(set(labels))}")
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=2000))
        return cls(pipeline.fit(features.double().numpy(), list(labels)), len(labels))

    def probabilities(self, features: Float[Tensor, "texts hidden"]) -> list[float]:
        """Return the probability (0 to 1) that each text is positive."""
        return [float(row[1]) for row in self.fitted.predict_proba(features.double().numpy())]


def text_means(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    batch_size: BatchSize = 32,
    progress: Progress = no_progress,
) -> Float[Tensor, "texts hidden"]:
    """Return the mean of each text's last hidden states, over all of its tokens and no padding, float32.

    Args:
        model: an encoder.
        tokenizer: its tokenizer.
        texts: what to read; the end of one that is too long is cut.
        batch_size: texts a batch.
        progress: called with the texts of each finished batch.
    """

    def mean(network: Any, inputs: dict[str, Any]) -> Tensor:
        states: Tensor = network.base_model(**inputs).last_hidden_state
        real = inputs["attention_mask"].unsqueeze(-1)
        return torch.div((states.float() * real).sum(1), real.sum(1))

    return _run(model, tokenizer, texts, mean, batch_size, progress)


def positive_probabilities(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    head: LinearHead | None = None,
    *,
    batch_size: BatchSize = 32,
    progress: Progress = no_progress,
) -> list[float]:
    """Return the probability (0 to 1) that each text is positive.

    Args:
        model: an encoder.
        tokenizer: its tokenizer.
        texts: what to classify.
        head: a fitted one; None for the model's own.
        batch_size: texts a batch.
        progress: called with the texts of each finished batch.

    Raises:
        ValueError: there is no head.
    """
    if head is not None:
        means = text_means(model, tokenizer, texts, batch_size=batch_size, progress=progress)
        return head.probabilities(means)
    if not has_classes(model):
        raise ValueError(
            f"{type(model).__name__} has no head of two classes: fit one (LinearHead.fit) and give it"
        )

    def logits(network: Any, inputs: dict[str, Any]) -> Tensor:
        classes: Tensor = network(**inputs).logits
        return classes.float()

    both = _run(model, tokenizer, texts, logits, batch_size, progress).double().numpy()
    return np.asarray(expit(both[:, 1] - both[:, 0])).tolist()  # type: ignore[no-any-return]


@torch.inference_mode()
def _run(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    read: Any,
    batch_size: BatchSize,
    progress: Progress,
) -> Float[Tensor, "texts outputs"]:
    """Return what `read` makes of each text, in the order of the texts."""
    ids = [encode_whole(tokenizer, text, context_length(model.config)) for text in texts]
    rows: list[Tensor] = [torch.empty(0)] * len(ids)
    batches = FittingBatches(model, ids, batch_size)
    for chosen in batches:
        with batches.tried():
            batch = pad([ids[index] for index in chosen])
            inputs = batch.inputs(input_device(model), first_position(model.config))
            inputs.pop("use_cache")
            for index, row in zip(chosen, read(model, inputs), strict=True):
                rows[index] = row.cpu()
            progress(len(chosen))
    return torch.stack(rows)
