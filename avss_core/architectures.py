"""What each model family calls its parts: one record per family, looked up by `config.model_type`."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PretrainedConfig


@dataclass(frozen=True)
class Architecture:
    """Where a family keeps its blocks, and what it calls the parts that other modules touch."""

    blocks: str
    """Dotted path of the list of blocks."""
    depth: str
    """Name of the configuration field that counts the blocks."""
    linear: tuple[str, ...]
    """Names of the linear maps inside a block, the targets of LoRA."""
    attention: str = "self_attn"
    """Path of the attention inside a block."""
    mlp: str = "mlp"
    """Path of the module inside a block whose output is that of the MLP."""
    down: str = "mlp.down_proj"
    """Path of the projection inside a block that reads the MLP's activations."""
    fan_in_fan_out: bool = False
    """True where weights are stored as (in, out), as in GPT-2's `Conv1D`."""


_GATED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_LLAMA = Architecture("model.layers", "num_hidden_layers", _GATED)

ARCHITECTURES: Mapping[str, Architecture] = {
    "gpt2": Architecture(
        "transformer.h",
        "n_layer",
        ("c_attn", "c_proj", "c_fc"),
        attention="attn",
        down="mlp.c_proj",
        fan_in_fan_out=True,
    ),
    "gpt_neox": Architecture(
        "gpt_neox.layers",
        "num_hidden_layers",
        ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
        attention="attention",
        down="mlp.dense_4h_to_h",
    ),
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "opt": Architecture(
        "model.decoder.layers",
        "num_hidden_layers",
        ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
        mlp="fc2",
        down="fc2",
    ),
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}


def architecture(config: PretrainedConfig) -> Architecture:
    """Return the record of a model's family.

    Raises:
        LookupError: the family is not in the table.
    """
    known = ARCHITECTURES.get(config.model_type)
    if known is None:
        near = difflib.get_close_matches(config.model_type, ARCHITECTURES, n=1)
        hint = f" (nearest: {near[0]})" if near else ""
        raise LookupError(
            f"model type {config.model_type!r} is not supported{hint}; known types: "
            f"{', '.join(sorted(ARCHITECTURES))}. Add a record to avss_core/architectures.py."
        )
    return known


def depth(config: PretrainedConfig) -> int:
    """Return the number of blocks."""
    return int(getattr(config, architecture(config).depth))


def blocks(model: nn.Module) -> nn.ModuleList:
    """Return the list of blocks, in depth order."""
    config: Any = model.config
    found = model.get_submodule(architecture(config).blocks)
    if not isinstance(found, nn.ModuleList) or len(found) != depth(config):
        raise ValueError(
            f"{architecture(config).blocks} of a {config.model_type} model holds {type(found).__name__}, "
            f"expected a list of {depth(config)} blocks, as its configuration says"
        )
    return found
