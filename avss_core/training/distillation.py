"""How far a student's next-token distributions and hidden states are from a teacher's."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


def kl_divergence(
    teacher: Float[Tensor, "tokens vocab"], student: Float[Tensor, "tokens vocab"], temperature: float = 1.0
) -> Float[Tensor, " tokens"]:
    """Return T^2 KL(teacher || student) of each token, in nats, at least 0.

    KL = sum_w p_w (log p_w - log q_w), with p and q the softmax of the logits divided by T.

    Source: Hinton et al. 2015, arXiv 1503.02531, section 2 (T^2 keeps the gradient's size over temperatures).

    Example:
        >>> even, leaning = torch.zeros(1, 2), torch.tensor([[3.0, 1.0]]).log()
        >>> round(float(kl_divergence(even, leaning)), 4)  # (1/2) ln(0.5 / 0.75) + (1/2) ln(0.5 / 0.25)
        0.1438
    """
    wanted = (teacher.float() / temperature).log_softmax(-1)
    own = (student.float() / temperature).log_softmax(-1)
    return temperature**2 * (wanted.exp() * (wanted - own)).sum(-1)


@dataclass(frozen=True)
class TopLogits:
    """The teacher's likeliest words at each token."""

    chances: Float[Tensor, "tokens top"]
    """Log-probabilities over the whole vocabulary."""
    words: Int[Tensor, "tokens top"]


def top_logits(logits: Float[Tensor, "tokens vocab"], top_k: int, temperature: float = 1.0) -> TopLogits:
    """Return the `top_k` likeliest words, or all words if there are fewer."""
    chances = (logits.float() / temperature).log_softmax(-1)
    top = chances.topk(min(top_k, chances.shape[-1]))
    return TopLogits(top.values, top.indices.int())


def top_kl_divergence(
    teacher: TopLogits, student: Float[Tensor, "tokens vocab"], temperature: float = 1.0
) -> Float[Tensor, " tokens"]:
    """Return T^2 KL(teacher || student) of each token over the teacher's top words and a bucket of the rest.

    Never above `kl_divergence`, and equal to it if the bucket holds at most one word. The student's share of
    the bucket is summed over its words: 1 minus the other shares would lose digits.
    """
    own = (student.float() / temperature).log_softmax(-1)
    words = teacher.words.long()
    loss = (teacher.chances.exp() * (teacher.chances - own.gather(-1, words))).sum(-1)
    if words.shape[-1] < own.shape[-1]:
        bucket = own.scatter(-1, words, -torch.inf).logsumexp(-1)
        # A sum of rounded chances can reach 1; an empty bucket adds no loss.
        rest = (1 - teacher.chances.exp().double().sum(-1)).clamp(min=0).to(own.dtype)
        loss = loss + torch.xlogy(rest, rest) - rest * bucket
    return temperature**2 * loss


def hidden_distance(
    teacher: Float[Tensor, "tokens hidden"], student: Float[Tensor, "tokens hidden"]
) -> Float[Tensor, ""]:
    """Return the mean squared distance of hidden states divided by their RMS: from 0 (equal) to 4 (opposite).

    Our reading: normalised by each token's root mean square, as the norm before the next block reads them.

    Example:
        >>> up = torch.tensor([[1.0, 1.0]])
        >>> round(float(hidden_distance(up, 3 * up)), 4), round(float(hidden_distance(up, -up)), 4)
        (0.0, 4.0)
    """
    return (_unit_rms(teacher) - _unit_rms(student)).square().mean()


def _unit_rms(hidden: Tensor) -> Tensor:
    """Return hidden states scaled to a root mean square of 1; the epsilon keeps zeros finite."""
    values = hidden.float()
    return values * (values.square().mean(-1, keepdim=True) + 1e-12).rsqrt()
