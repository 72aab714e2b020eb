"""The tensors of a model and their size; a tied tensor counts once."""

from collections.abc import Mapping

from torch import Tensor, nn
from transformers import PreTrainedModel


def parameter_count(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def parameter_bytes(model: nn.Module) -> int:
    """Return the bytes of all parameters."""
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def tied_names(model: PreTrainedModel) -> Mapping[str, str]:
    """Return the name of each tied copy and of the tensor that it is tied to."""
    return getattr(model, "all_tied_weights_keys", None) or {}


def stored_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the tensors that a checkpoint stores: all but the tied copies."""
    tied = tied_names(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in tied}
