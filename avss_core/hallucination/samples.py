"""The activation dump: a summary of each layer's activations on the tokens of each answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from avss_core.evaluation.prompts import question_prompt
from avss_core.evaluation.shared_prompt import shared_prefix
from avss_core.models.activations import Seen, at_site, observed, run_blocks
from avss_core.models.architectures import blocks
from avss_core.models.batches import Batch, pad
from avss_core.models.encoding import encode
from avss_core.progress import Progress, no_progress

ObservedTokens = Literal["answer", "first", "question"]
"""Which tokens of a question with an answer are observed."""

_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True)
class AnswerSample:
    """One answer to a question, truthful or hallucinated."""

    id: str
    set: str
    split: str
    question: str
    answer: str
    hallucinated: bool
    source: str = "supplied"
    """`supplied` with the question, or `generated` by the model itself."""


def sample_pair(
    question: str, truthful: str, wrong: str, *, id: str, set: str, split: str, source: str = "supplied"
) -> tuple[AnswerSample, AnswerSample]:
    """Return the truthful and the hallucinated sample of a question; their ids share a prefix."""
    return (
        AnswerSample(f"{id}:true", set, split, question, truthful, False, source),
        AnswerSample(f"{id}:wrong", set, split, question, wrong, True, source),
    )


@dataclass(frozen=True)
class SampleActivations:
    """Activations of each answer's tokens at one site; rows are in the order of `ids`.

    All but `pooled` are float64, so that they can be merged without loss.
    """

    ids: tuple[str, ...]
    hallucinated: Bool[Tensor, " samples"]
    pooled: Float[Tensor, "samples layers hidden"]
    """Mean vector over the answer's tokens, float16."""
    count: Float[Tensor, " samples"]
    """Number of values of those tokens."""
    mean: Float[Tensor, "samples layers"]
    """Mean of the values."""
    centred: Float[Tensor, "samples layers"]
    """Centred sum of squares of the values."""
    below: Float[Tensor, "samples layers"]
    """Number of values with |a| below the threshold."""

    def select(self, rows: Int[Tensor, " chosen"]) -> "SampleActivations":
        """Return the samples at some rows."""
        tensors = {name: getattr(self, name)[rows] for name in TENSORS}
        return SampleActivations(tuple(self.ids[row] for row in rows.tolist()), **tensors)


TENSORS = ("hallucinated", "pooled", "count", "mean", "centred", "below")
"""Names of the tensors of `SampleActivations`."""


def answer_tokens(tokenizer: PreTrainedTokenizerBase, question: str, answer: str) -> tuple[list[int], int]:
    """Return the token ids of question and answer, and where the answer starts.

    Raises:
        ValueError: the answer adds no token.
    """
    prompt = question_prompt(question)
    whole = encode(tokenizer, f"{prompt} {answer}")
    start = shared_prefix([encode(tokenizer, prompt), whole], keep=0)
    if not answer.strip() or start >= len(whole):
        raise ValueError(f"the answer {answer!r} to {question!r} adds no token")
    return whole, start


def observe_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[AnswerSample],
    *,
    site: str,
    relative: float,
    tokens: ObservedTokens = "answer",
    scaled: bool = False,
    batch_size: int = 16,
    progress: Progress = no_progress,
) -> SampleActivations:
    """Return the activations of every sample's answer tokens at one site, or of one token before or in it.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        samples: question and answer pairs; at least one.
        site: one of `avss_core.models.activations.SITES`.
        relative: threshold of `below`, as a share of the RMS of the token's block input.
        tokens: `answer` for all tokens of the answer, `first` for its first one, `question` for the last one
            of the question, which predicts the first: it is the same for all answers to a question.
        scaled: divide each token's activations by the RMS of its block input, as the norm in the block does,
            so that a token counts for no more than another one in whose stream more has gathered.
        batch_size: samples a batch; it changes the result only by rounding.
        progress: called with the number of samples of each finished batch.

    Raises:
        ValueError: there is no sample, or an activation is not a finite number (names the sample).
    """
    if not samples:
        raise ValueError("there is no question with an answer to observe")
    encoded = [answer_tokens(tokenizer, sample.question, sample.answer) for sample in samples]
    order = sorted(range(len(samples)), key=lambda index: len(encoded[index][0]))
    layers = len(blocks(model))
    pooled = torch.zeros(len(samples), layers, 0, dtype=torch.float16)
    figures = torch.zeros(4, len(samples), layers, dtype=torch.float64)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = _answer_batch([encoded[index] for index in chosen], tokens)
        vectors, numbers = _observe(model, batch, site, relative, scaled)
        finite = vectors.isfinite().all((1, 2)) & numbers.isfinite().all((0, 2))
        if not finite.all():
            bad = samples[chosen[int(finite.long().argmin())]].id
            raise ValueError(
                f"site {site}: an activation of sample {bad} is not a finite number (or past float16 on "
                "average); load the model in float32 or check its weights"
            )
        if not pooled.shape[2]:  # how wide a site is shows when it is seen
            pooled = vectors.new_zeros(len(samples), layers, vectors.shape[2])
        pooled[chosen], figures[:, chosen] = vectors, numbers
        progress(len(chosen))
    return SampleActivations(
        tuple(sample.id for sample in samples),
        torch.tensor([sample.hallucinated for sample in samples]),
        pooled,
        figures[0, :, 0],
        *figures[1:],
    )


def _answer_batch(encoded: Sequence[tuple[list[int], int]], tokens: ObservedTokens) -> Batch:
    """Return right-padded sequences of which only the answers' tokens are counted, or one token each."""
    batch = pad([ids for ids, _ in encoded])
    starts = torch.tensor([start for _, start in encoded]).unsqueeze(1)
    places = torch.arange(batch.ids.shape[1])
    chosen = {"answer": places >= starts, "first": places == starts, "question": places == starts - 1}
    counted = batch.attention & chosen[tokens]
    return Batch(batch.ids, batch.attention, counted)


def _observe(
    model: PreTrainedModel, batch: Batch, site: str, relative: float, scaled: bool
) -> tuple[Float[Tensor, "batch layers hidden"], Float[Tensor, "4 batch layers"]]:
    """Return pooled vectors and (count, mean, centred, below) of each sample and layer of a batch."""
    vectors: list[Tensor] = []
    numbers: list[Tensor] = []

    def visit(_index: int, seen: Seen) -> None:
        scale = seen["input"].double().square().mean(-1, keepdim=True).sqrt()
        values = at_site(site, seen).double()
        if scaled:
            values, scale = values / scale.clamp(min=_TINY), torch.ones_like(scale)
        mask = batch.counted.to(values.device).unsqueeze(-1)
        tokens, width = mask.sum(1).double(), values.shape[-1]
        vector = values.masked_fill(~mask, 0).sum(1) / tokens
        mean = vector.mean(1)
        centred = (values - mean[:, None, None]).square().masked_fill(~mask, 0).sum((1, 2))
        below = ((values.abs() < relative * scale) & mask).sum((1, 2)).double()
        vectors.append(vector.to(torch.float16).cpu())
        numbers.append(torch.stack([tokens[:, 0] * width, mean, centred, below]).cpu())

    with observed(model, visit, [site]), torch.inference_mode():
        run_blocks(model, batch)
    return torch.stack(vectors, 1), torch.stack(numbers, 2)


def save_samples(activations: SampleActivations, path: Path) -> None:
    """Write the dump as a safetensors file, with the ids as a JSON list in its metadata."""
    tensors = {name: getattr(activations, name).contiguous() for name in TENSORS}
    save_file(tensors, path, metadata={"ids": json.dumps(activations.ids)})


def load_samples(path: Path) -> SampleActivations:
    """Return the dump that `save_samples` wrote."""
    with safe_open(path, framework="pt") as handle:
        ids = tuple(json.loads(handle.metadata()["ids"]))
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - no mapping
    return SampleActivations(ids, **tensors)
