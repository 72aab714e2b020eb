"""Which models a GGUF file can hold: the families, and what their readers take for granted."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoConfig, PretrainedConfig
from transformers.integrations.ggml import GGUF_CONFIG_MAPPING
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS


@dataclass(frozen=True)
class GgufFamily:
    """How llama.cpp's converter writes a family."""

    architecture: str
    """The `general.architecture` of the file."""
    reader: str
    """The model type as which transformers reads it."""
    permuted: bool = False
    """Whether the two halves of each head's query and key rows are stored as neighbours."""
    shifted: bool = False
    """Whether 1 is added to the weights of norms."""
    transposed: tuple[str, ...] = ()
    """Ends of the names of weights that the checkpoint stores as (in, out)."""
    said: frozenset[str] = frozenset()
    """Fields of the configuration that the file holds and transformers does not read from it."""


_ROPE = frozenset({"rope_parameters"})
_GEMMA = _ROPE | {"final_logit_softcapping"}

GGUF_FAMILIES: Mapping[str, GgufFamily] = {
    "gemma2": GgufFamily("gemma2", "gemma2", shifted=True, said=_GEMMA | {"attn_logit_softcapping"}),
    "gemma3_text": GgufFamily("gemma3", "gemma3_text", shifted=True, said=_GEMMA),
    "gpt2": GgufFamily(
        "gpt2",
        "gpt2",
        transposed=("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"),
        said=frozenset({"n_positions"}),
    ),
    "llama": GgufFamily("llama", "llama", permuted=True, said=_ROPE),
    "mistral": GgufFamily("llama", "llama", permuted=True, said=_ROPE),
    "qwen2": GgufFamily("qwen2", "qwen2", said=_ROPE),
    "qwen3": GgufFamily("qwen3", "qwen3", said=_ROPE | {"head_dim"}),
}
"""By the checkpoint's model type: families that llama.cpp runs and transformers reads from GGUF."""

_WITHOUT_EFFECT = {
    "_name_or_path", "architectures", "bos_token_id", "dtype", "eos_token_id", "initializer_range",
    "max_window_layers", "model_type", "pad_token_id", "pretraining_tp", "tie_word_embeddings",
    "transformers_version", "use_cache", "vocab_size",
}  # fmt: skip
"""Fields that change no logit, or that the tensors and the vocabulary say."""

_SCALED = {"linear": set(GGUF_FAMILIES), "llama3": {"llama", "mistral"}}
"""Kinds of scaled rotary embeddings, and the model types whose files can hold them."""


def gguf_family(config: PretrainedConfig) -> GgufFamily:
    """Return how a model is written.

    Raises:
        LookupError: the family is not one of `GGUF_FAMILIES`.
    """
    family = GGUF_FAMILIES.get(config.model_type)
    if family is None:
        raise LookupError(
            f"{config.model_type} models are not written as GGUF; families that are: "
            f"{', '.join(sorted(GGUF_FAMILIES))}. convert_hf_to_gguf.py of llama.cpp knows more"
        )
    return family


def read_config(config: PretrainedConfig) -> tuple[PretrainedConfig, set[str]]:
    """Return the configuration that a GGUF file of a model is read with, and the fields set by hand for it.

    What the file cannot say its readers take from the family's defaults. So a model with another value, such
    as layers whose kinds no longer follow from their numbers, is refused.

    Raises:
        LookupError: the family is not supported.
        ValueError: a field has a value that the file cannot hold; names it.
    """
    family = gguf_family(config)
    _refuse_rope(config)
    read: PretrainedConfig = AutoConfig.for_model(family.reader, **_readable(config, family))
    by_hand: set[str] = set()
    for field in _differing(config, read):
        value = getattr(config, field, None)
        if field not in family.said and not _is_scale_of_heads(config, field):
            raise ValueError(_refusal(config, field, value, getattr(read, field, None)))
        setattr(read, field, copy.deepcopy(value))
        by_hand.add(field)
    read.vocab_size = config.vocab_size
    return read, by_hand


def rope_of(config: PretrainedConfig, kind: str = "full_attention") -> dict[str, Any]:
    """Return the rotary embedding of one kind of attention; empty if the model has none."""
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    chosen: dict[str, Any] = rope.get(kind, rope)
    return chosen


def rope_factors(config: PretrainedConfig) -> Float[Tensor, " half"] | None:
    """Return by how much each rotary frequency is divided, which llama.cpp reads as a tensor.

    None unless the frequencies are those of Llama 3, which are not divided alike.
    """
    if rope_of(config).get("rope_type") != "llama3":
        return None
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    size = 2 * len(scaled)
    plain = rope_of(config)["rope_theta"] ** (-torch.arange(0, size, 2, dtype=torch.float32) / size)
    factors: Tensor = plain / scaled
    return factors


def _readable(config: PretrainedConfig, family: GgufFamily) -> dict[str, Any]:
    """Return the fields that transformers reads from a file of the family."""
    known: Any = GGUF_CONFIG_MAPPING[family.architecture]
    fields = {field for field in known.values() if field}
    values = {field: getattr(config, field) for field in fields if hasattr(config, field)}
    if "rope_theta" in fields:
        values["rope_theta"] = rope_of(config)["rope_theta"]
    return values


def _differing(config: PretrainedConfig, read: PretrainedConfig) -> list[str]:
    """Return the fields of either family that would be read with another value."""
    wanted, there = config.to_dict(), read.to_dict()
    fields = (type(config)().to_dict().keys() | there.keys()) - _WITHOUT_EFFECT
    switches = {field for field in fields if wanted.get(field) is None and there.get(field) is False}
    return sorted(field for field in fields - switches if wanted.get(field) != there.get(field))


def _is_scale_of_heads(config: PretrainedConfig, field: str) -> bool:
    """Tell whether a field is the scale of attention that llama.cpp computes from the size of a head."""
    return field == "query_pre_attn_scalar" and getattr(config, field) == getattr(config, "head_dim", None)


def _refuse_rope(config: PretrainedConfig) -> None:
    """Raise ValueError for a rotary embedding that cannot be written."""
    rope = rope_of(config)
    kind = rope.get("rope_type", "default")
    known = ["default", *(name for name, types in _SCALED.items() if config.model_type in types)]
    if kind not in known:
        raise ValueError(
            f"cannot be written as GGUF: rope_type in config.json is {kind!r}, and of {config.model_type} "
            f"models these are written: {', '.join(known)}. convert_hf_to_gguf.py of llama.cpp knows more"
        )
    windowed = rope_of(config, "sliding_attention").get("rope_type", "default")
    part = rope.get("partial_rotary_factor") or 1.0
    if rope is not rope_of(config, "sliding_attention") and windowed != "default":
        raise ValueError(
            f"cannot be written as GGUF: rope_type of sliding_attention in config.json is {windowed!r}, and "
            "only default is written"
        )
    if part != 1.0:
        raise ValueError(
            f"cannot be written as GGUF: partial_rotary_factor in config.json is {part}, only 1 is written"
        )


def _refusal(config: PretrainedConfig, field: str, value: Any, taken: Any) -> str:
    """Return why a model cannot be written."""
    if field == "layer_types":
        layer = next(i for i, (kind, other) in enumerate(zip(value, taken, strict=True)) if kind != other)
        return (
            f"cannot be written as GGUF: its blocks are not alike (layer_types in config.json): block "
            f"{layer} has {value[layer]}, and readers of GGUF take {taken[layer]} from its number alone, "
            "which removing layers changes. Serve the checkpoint itself, with transformers, vLLM or SGLang"
        )
    if field == "sliding_window":
        return (
            f"cannot be written as GGUF: every block attends to the last {value} tokens only (sliding_window "
            f"in config.json), and readers of GGUF give {config.model_type} models no window. If that many "
            f"tokens are enough, set sliding_window to null and max_position_embeddings to {value} in a copy"
        )
    return (
        f"cannot be written as GGUF: {field} in config.json is {value!r}, the file has no place for it, and "
        f"its readers take {taken!r}"
    )
