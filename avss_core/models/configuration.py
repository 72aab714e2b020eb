"""The configuration of a model without some layers: all that depends on depth follows, or it is refused."""

import warnings
from collections.abc import Sequence
from typing import Any

from transformers import PretrainedConfig

from avss_core.models.architectures import DEPTH_FIELDS, depth, depth_field

# Lists of one entry a layer. Some may be longer than the model is deep; the entries behind are never read.
_PER_LAYER = (
    "activation_sparsity_pattern",
    "attention_layers",
    "layer_rope_theta",
    "layer_types",
    "layers_block_type",
    "mlp_layer_types",
    "no_rope_layers",
)

# Lists of layer numbers.
_LAYER_NUMBERS = (
    "attn_layer_indices",
    "cross_attention_layers",
    "full_attn_idxs",
    "mlp_only_layers",
    "moe_layers",
)

# Lists that are neither, though they may happen to be as long as the model is deep.
_OTHER_LISTS = ("architectures", "bos_token_id", "eos_token_id", "pad_token_id")

# Fields from which a family computes what a layer does by its number, each with the values that mean nothing.
# Removing layers would change the layers that stay, so such a model is refused.
_RULES: dict[str, tuple[Any, ...]] = {
    "attn_layer_period": (None, 0),
    "decoder_sparse_step": (None, 0, 1),
    "expert_layer_period": (None, 0),
    "first_k_dense_replace": (None, 0),
    "full_attention_interval": (None, 0),
    "global_attn_every_n_layers": (None, 0, 1),
    "hidden_size_per_layer_input": (None, 0),
    "max_window_layers": (None,),
    "moe_layer_freq": (None, 0, 1),
    "no_rope_layer_interval": (None, 0),
    "num_kv_shared_layers": (None, 0),
    "scale_attn_by_inverse_layer_idx": (None, False),
    "sliding_window_pattern": (None, 0, 1),
}

# Rules that are not read where a list of one entry a layer stands in the configuration.
_EXPLICIT = {
    "full_attention_interval": "layer_types",
    "global_attn_every_n_layers": "layer_types",
    "max_window_layers": "layer_types",
    "no_rope_layer_interval": "no_rope_layers",
    "sliding_window_pattern": "layer_types",
}


def kept_layers(layers: int, removed: Sequence[int]) -> list[int]:
    """Return the old numbers of the layers that stay; position i is the new number i.

    Example:
        >>> kept_layers(6, [1, 4])
        [0, 2, 3, 5]
    """
    return [layer for layer in range(layers) if layer not in set(removed)]


def pruned_config(config: PretrainedConfig, removed: Sequence[int]) -> PretrainedConfig:
    """Return the configuration of the model without some layers; per-layer lists are sliced by kept index.

    Warns of a list that is sliced for its length alone.

    Raises:
        ValueError: a field ties the kind of a layer to its index, or is a list too short; names the field.
    """
    layers = depth(config)
    kept = kept_layers(layers, removed)
    values: dict[str, Any] = config.to_dict()
    _check_rules(config.model_type, values, layers, _rewritten(config, values, kept))
    for field, value in values.items():
        if isinstance(value, list | tuple) and field not in _OTHER_LISTS:
            values[field] = _following(config.model_type, field, list(value), layers, kept)
    if values.get("attention_types") and values.get("attention_layers"):
        values["attention_types"] = [[values["attention_layers"], 1]]  # of GPT-Neo: kinds, times repeated
    if values.get("max_window_layers") is not None:
        # Qwen counts windows from the bottom; the explicit list of layer kinds stands for the rule.
        values["max_window_layers"] = len(kept)
    for field in {depth_field(config), *DEPTH_FIELDS}:
        # A second count that the class does not declare was left by an older version of the family.
        if field in values and (field == depth_field(config) or not hasattr(type(config), field)):
            values[field] = len(kept)
    values.pop("_name_or_path", None)
    return type(config).from_dict(values)


def _rewritten(config: PretrainedConfig, values: dict[str, Any], kept: Sequence[int]) -> set[str]:
    """Rewrite the rules that can say the same of the layers that stay, and return their fields.

    Only fields that the configuration's class declares are known to be read in this way.
    """
    declared = type(config)
    done = set()
    if hasattr(declared, "first_k_dense_replace") and values.get("first_k_dense_replace"):
        values["first_k_dense_replace"] = sum(layer < values["first_k_dense_replace"] for layer in kept)
        done.add("first_k_dense_replace")
    step = values.get("decoder_sparse_step") or 1
    if hasattr(declared, "decoder_sparse_step") and hasattr(declared, "mlp_only_layers") and step > 1:
        dense = set(values["mlp_only_layers"] or []) | {layer for layer in kept if (layer + 1) % step}
        values |= {"mlp_only_layers": sorted(dense), "decoder_sparse_step": 1}
        done.add("decoder_sparse_step")
    return done


def _check_rules(model_type: str, values: dict[str, Any], layers: int, done: set[str]) -> None:
    """Raise where a rule by layer number would change the layers that stay."""
    for field, neutral in _RULES.items():
        explicit = values.get(_EXPLICIT.get(field, ""))
        stands = isinstance(explicit, list | tuple) and len(explicit) >= layers
        if field not in done and not stands and values.get(field) not in neutral:
            raise ValueError(
                f"{model_type}: the field {field} ties the kind of a layer to its index; "
                "removing layers would change the layers that stay, so this model is refused"
            )


def _following(model_type: str, field: str, value: list[Any], layers: int, kept: Sequence[int]) -> list[Any]:
    """Return a list of the configuration as it is for the layers that stay."""
    if field in _LAYER_NUMBERS:
        return [new for new, old in enumerate(kept) if old in value]
    if field in _PER_LAYER:
        if len(value) < layers:
            raise ValueError(
                f"{model_type}: the field {field} has {len(value)} entries for {layers} layers, so it cannot "
                "follow the layers that stay"
            )
        return [value[layer] for layer in kept]
    if len(value) != layers:
        return value
    warnings.warn(
        f"{model_type}: the field {field} is not known; it has one entry a layer, so its entries were "
        "removed with the layers",
        stacklevel=4,
    )
    return [value[layer] for layer in kept]
