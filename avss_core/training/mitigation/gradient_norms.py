"""How much training a layer alone could gain: the norm of its gradient before the first step."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from avss_core.models.architectures import blocks
from avss_core.models.views import sharing_copy
from avss_core.progress import Progress, no_progress
from avss_core.training.frozen_prefix import FrozenPrefix
from avss_core.training.mitigation.mitigation import Contrastive
from avss_core.training.objectives import weighted_loss


def gradient_norms(
    model: PreTrainedModel, objective: Contrastive, *, batch_size: int = 8, progress: Progress = no_progress
) -> Float[Tensor, " layers"]:
    """Return the norm of the loss's gradient by the weights of each layer, over all training pairs.

    One backward pass over the pairs: to first order a small step on a layer alone lowers the loss by the
    square of this norm times the step. Layers of different sizes are compared as they are.

    Args:
        model: stays as it is.
        objective: pairs and the weights of the terms; only the training pairs are read.
        batch_size: pairs at a time.
        progress: called with the pairs of each finished batch.

    Raises:
        ValueError: there is no pair.

    Source: the criterion of arXiv 2602.04019, here over a layer's own weights instead of its adapters, whose
    first factor has no gradient before the first step.
    """
    pairs = objective.train
    if not pairs:
        raise ValueError("a gradient needs training pairs")
    copy = sharing_copy(model)
    copy.train(False)
    for own in blocks(copy):
        for name, weight in list(own.named_parameters()):
            module = own.get_submodule(name.rpartition(".")[0])
            setattr(module, name.rpartition(".")[2], torch.nn.Parameter(weight.detach()))
    run = FrozenPrefix(copy)
    for start in range(0, len(pairs), batch_size):
        part = pairs[start : start + batch_size]
        terms = objective.terms(run, part, judging=False)
        loss = weighted_loss(objective.weights, terms)
        torch.autograd.backward(loss * (len(part) / len(pairs)), inputs=_weights(copy))
        progress(len(part))
    squares = [sum(_square(weight) for weight in own.parameters()) for own in blocks(copy)]
    return torch.tensor(squares, dtype=torch.float64).sqrt()


def _weights(model: PreTrainedModel) -> Sequence[torch.nn.Parameter]:
    return [weight for own in blocks(model) for weight in own.parameters()]


def _square(weight: torch.nn.Parameter) -> float:
    return 0.0 if weight.grad is None else float(weight.grad.double().square().sum())
