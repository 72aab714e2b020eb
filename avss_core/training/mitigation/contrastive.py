"""The terms of the loss: prefer accepted answers over wrong ones, and be as sure as one is right."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, logsigmoid


def mean_log_likelihood(
    logits: Float[Tensor, "batch seq vocab"], ids: Int[Tensor, "batch seq"], answer: Bool[Tensor, "batch seq"]
) -> Float[Tensor, " batch"]:
    """Return the mean log-probability of each row's answer tokens (nats, at most 0).

    Args:
        logits: logits of whole sequences; position t predicts token t + 1.
        ids: token ids of the sequences.
        answer: whether a token belongs to the answer; false for padding.

    Example:
        >>> ids, answer = torch.tensor([[0, 1, 2]]), torch.tensor([[False, True, True]])
        >>> round(float(mean_log_likelihood(torch.zeros(1, 3, 4), ids, answer)), 4)  # -ln 4
        -1.3863
    """
    chances = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:].unsqueeze(-1)).squeeze(-1)
    mask = answer[:, 1:]
    return chances.masked_fill(~mask, 0).sum(1) / mask.sum(1).clamp(min=1)


def preference_loss(
    accepted: Float[Tensor, " batch"],
    wrong: Float[Tensor, " batch"],
    beta: float,
    weights: Float[Tensor, " batch"] | None = None,
) -> Float[Tensor, ""]:
    """Return the mean of -w log sigmoid(beta (s+ - s-)), 0 for an empty batch; without weights w is 1.

    Our reading: s is the mean log-probability of the answer's tokens, so that length does not lower it.

    Example:
        >>> round(float(preference_loss(torch.tensor([-1.0]), torch.tensor([-1.0]), beta=1.0)), 4)  # ln 2
        0.6931
    """
    losses = -logsigmoid(beta * (accepted - wrong))
    return (losses if weights is None else weights * losses).sum() / max(1, len(accepted))


def brier_loss(scores: Float[Tensor, " batch"], correct: Bool[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Return the mean of (p - y)^2, with p = exp(score) the confidence in an answer and y the verdict on it.

    Args:
        scores: mean log-probability of the tokens of each of the model's own answers.
        correct: the judge's verdicts.

    Source: Brier 1950. Our reading: p is the geometric mean of the answer's token probabilities, the
    confidence of which the evaluation takes ECE and Brier score.

    Example:
        >>> scores = torch.tensor([0.9, 0.2]).log()
        >>> round(float(brier_loss(scores, torch.tensor([True, False]))), 4)  # (0.01 + 0.04) / 2
        0.025
    """
    return (scores.exp() - correct.to(scores.dtype)).square().mean()


def info_nce(
    anchors: Float[Tensor, "batch hidden"],
    candidates: Float[Tensor, "candidates hidden"],
    positive: Bool[Tensor, "batch candidates"],
    allowed: Bool[Tensor, "batch candidates"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Return InfoNCE over cosine similarities, averaged over the anchors that have a positive.

    loss_i = -log( sum over positives exp(cos/T) / sum over allowed candidates exp(cos/T) )

    Args:
        anchors: the last token of each question.
        candidates: the representations of answers.
        positive: whether a candidate is an accepted answer of an anchor.
        allowed: whether a candidate is compared with an anchor; positives always are.
        temperature: T > 0.

    Returns:
        A finite number; 0 if no anchor has a positive.

    Source: van den Oord et al. 2018, arXiv 1807.03748, eq. 4.

    Example:
        >>> anchors, candidates = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> positive, allowed = torch.tensor([[True, False]]), torch.tensor([[True, True]])
        >>> round(float(info_nce(anchors, candidates, positive, allowed, 1.0)), 4)  # -ln(e / (e + 1))
        0.3133
    """
    cosine = cosine_similarity(anchors.float().unsqueeze(1), candidates.float().unsqueeze(0), dim=-1)
    similarity = cosine / temperature
    # A large finite number keeps the gradient of rows without any candidate free of NaN.
    least = torch.finfo(similarity.dtype).min / 4
    numerator = similarity.masked_fill(~positive, least).logsumexp(1)
    denominator = similarity.masked_fill(~(allowed | positive), least).logsumexp(1)
    has_positive = positive.any(1)
    losses = (denominator - numerator).masked_fill(~has_positive, 0)
    return losses.sum() / has_positive.sum().clamp(min=1)


def masked_mean(
    hidden: Float[Tensor, "batch seq hidden"], mask: Bool[Tensor, "batch seq"]
) -> Float[Tensor, "batch hidden"]:
    """Return the mean vector over the positions in each row's mask.

    Example:
        >>> masked_mean(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[True, True, False]])).tolist()
        [[2.0]]
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
