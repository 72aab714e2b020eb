"""What transformers 4 must find in a checkpoint's settings to read it as transformers 5 does."""

import copy
import json
from collections.abc import Mapping
from typing import Any

import transformers
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from avss_core.models.architectures import ARCHITECTURES
from avss_core.models.encoding import tokens_around

OLDEST = "4.57"
"""The oldest version that was compared; what can be said to it is read there as in transformers 5."""

# Names of single values of `rope_parameters` in transformers 4, where a family has its own.
_THETA = {"gpt_neox": "rotary_emb_base"}
# The same of the share of a head that is rotated, of the families that were compared and rotate a part.
_PARTIAL = {
    "glm": "partial_rotary_factor",
    "glm4": "partial_rotary_factor",
    "gpt_neox": "rotary_pct",
    "phi": "partial_rotary_factor",
    "phi3": "partial_rotary_factor",
    "stablelm": "partial_rotary_factor",
}

# Kinds of rotary embeddings that both versions compute alike in any family, from the same fields.
_SAME_ROPE = ("default", "dynamic", "linear", "llama3", "yarn")

_BESIDE = ("partial_rotary_factor", "rope_theta")  # what stands beside `rope_scaling`, not in it
# Families that take some kinds alone, with exactly these fields.
_FIELDS = {
    "olmo": (("dynamic", "linear"), {"type", "factor"}),
    "olmo2": (("dynamic", "linear"), {"type", "factor"}),
    "phi3": (("longrope",), {"type", "short_factor", "long_factor"}),
}

_STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")  # of a tokenizer, in tokenizer.json
_FAST = "PreTrainedTokenizerFast"
"""Class that takes `tokenizer.json` as it is, in both versions."""
_NEW_CLASSES = ("EsmcTokenizer", "Qwen3_5Tokenizer", "TokenizersBackend")
# Classes that add tokens at the ends of a text by two settings, whatever tokenizer.json says, each with what
# transformers 4 assumes without them.
_END_SETTINGS = ("add_bos_token", "add_eos_token")
_ENDS = {
    "CodeLlamaTokenizer": (True, False),
    "CohereTokenizer": (True, False),
    "GPTNeoXTokenizer": (False, False),
    "GemmaTokenizer": (True, False),
    "LlamaTokenizer": (True, False),
}


def oldest_version(config: PretrainedConfig) -> str:
    """Return the oldest version of transformers that is known to read a configuration as this one does.

    `OLDEST` for a family that was compared, if older keys can say what its configuration says; otherwise the
    version that writes.
    """
    said = config.model_type in ARCHITECTURES and _rope(config) is not None
    return OLDEST if said else transformers.__version__


def older_config(config: PretrainedConfig) -> dict[str, Any]:
    """Return the keys of transformers 4 that say what a configuration of transformers 5 says.

    Those that transformers 5 would read as something else are left out.
    """
    keys: dict[str, Any] = {}
    if config.dtype is not None:
        keys["torch_dtype"] = str(config.dtype).removeprefix("torch.")
    rope = _rope(config)
    if rope:
        own = copy.deepcopy(rope)  # a configuration changes what it is made of
        again = type(config).from_dict({**config.to_dict(), **own}).rope_parameters
        again.pop("type", None)  # the older name of `rope_type`, which stays beside it
        if again == config.rope_parameters:
            keys |= rope
    return keys


def older_tokenizer(tokenizer: PreTrainedTokenizerBase, *, plain: bool = False) -> dict[str, Any]:
    """Return the settings by which both versions turn a text into the same tokens; None for a key to remove.

    Transformers 4 reads `tokenizer.json` as well, and changes by its own settings what that says of a space
    before a text and of tokens at its ends. The class stays if those settings can say it; otherwise it is the
    one that takes `tokenizer.json` as it is.

    Args:
        tokenizer: any; one without `tokenizer.json` needs no settings.
        plain: whether the class is not to stay.
    """
    state = tokenizer_state(tokenizer)
    if not state:
        return {}
    name, ends = type(tokenizer).__name__, _ends(tokenizer)
    if plain or name in _NEW_CLASSES or (name in _ENDS and ends is None):
        name = _FAST
    said = ends is not None and ends != _ENDS.get(name, ends)
    return {
        **(dict(zip(_END_SETTINGS, ends or (), strict=True)) if said else {}),
        "add_prefix_space": (state["pre_tokenizer"] or {}).get("add_prefix_space"),
        "additional_special_tokens": tokenizer.extra_special_tokens or None,
        "clean_up_tokenization_spaces": tokenizer.clean_up_tokenization_spaces,
        "extra_special_tokens": None,
        "model_input_names": list(tokenizer.model_input_names),
        "padding_side": tokenizer.padding_side,
        "tokenizer_class": name,
    }


def tokenizer_state(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Return what `tokenizer.json` says of how a text is taken apart; empty if there is no such file."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    state = {} if backend is None else json.loads(backend.to_str())
    return {name: state[name] for name in _STEPS if name in state}


def _ends(tokenizer: Any) -> tuple[bool, bool] | None:
    """Return whether a tokenizer adds its first and its last token to a text; None if it adds others."""
    before, behind = tokens_around(tokenizer)
    said = before in ([], [tokenizer.bos_token_id]) and behind in ([], [tokenizer.eos_token_id])
    return (bool(before), bool(behind)) if said else None


def _rope(config: PretrainedConfig) -> dict[str, Any] | None:
    """Return a configuration's rotary embedding in keys of transformers 4; None if they cannot say it."""
    rope = getattr(config, "rope_parameters", None)
    if not rope:
        return {}
    full, sliding = rope.get("full_attention"), rope.get("sliding_attention")
    if isinstance(full, Mapping) and isinstance(sliding, Mapping):
        return _rope_by_kind(config.model_type, full, sliding)
    if any(isinstance(value, Mapping) for value in rope.values()):
        return None
    return _flat_rope(config.model_type, rope)


def _rope_by_kind(
    model_type: str, full: Mapping[str, Any], sliding: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return two rotary embeddings in keys of transformers 4, which scales that of full attention alone."""
    keys = _flat_rope(model_type, full)
    if keys is None or set(sliding) - {"rope_type", "rope_theta"} or sliding["rope_type"] != "default":
        return None
    if model_type == "gemma3_text":
        return {**keys, "rope_local_base_freq": sliding["rope_theta"]}
    return keys if full["rope_theta"] == sliding["rope_theta"] else None


def _flat_rope(model_type: str, rope: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return one rotary embedding in keys of transformers 4; None if they cannot say it."""
    kind, keys = rope["rope_type"], {_THETA.get(model_type, "rope_theta"): rope["rope_theta"]}
    share = rope.get("partial_rotary_factor", 1.0)
    if share != 1.0 and model_type in ARCHITECTURES and model_type not in _PARTIAL:
        return None
    if "partial_rotary_factor" in rope:
        keys[_PARTIAL.get(model_type, "partial_rotary_factor")] = share
    if kind == "default":
        return keys
    scaling = {name: value for name, value in rope.items() if name not in _BESIDE}
    if model_type not in _FIELDS:
        return {**keys, "rope_scaling": scaling} if kind in _SAME_ROPE else None
    kinds, fields = _FIELDS[model_type]
    scaling["type"] = scaling.pop("rope_type")
    if model_type == "phi3":
        scaling.pop("original_max_position_embeddings", None)  # a field of the configuration there
    return {**keys, "rope_scaling": scaling} if kind in kinds and scaling.keys() == fields else None
