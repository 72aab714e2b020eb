"""Find a model's blocks: by the record of its family, or by what the model itself shows."""

import difflib
import warnings
from typing import Any

from torch import nn
from transformers import PretrainedConfig

from avss_core.models.families import DECODERS, ENCODERS, LLAMA, Architecture
from avss_core.plugins import Table, record_of

ARCHITECTURES = Table({**DECODERS, **ENCODERS}, "avss.architectures", record_of(Architecture))
"""Every family, by the `model_type` of its configuration."""

DEPTH_FIELDS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""Names that configurations give to the number of blocks."""


def architecture(config: PretrainedConfig) -> Architecture:
    """Return the record of a known family.

    Raises:
        LookupError: the family is not in the table.
    """
    known = ARCHITECTURES.get(config.model_type)
    if known is None:
        raise LookupError(_unknown(config))
    return known


def architecture_of(model: nn.Module) -> Architecture:
    """Return the record of a model's family; one that is not in the table is read from the model.

    Warns of what was assumed: that the one outermost list of modules with the configured depth holds the
    blocks, and that parts with the names of Llama's parts are the same parts.

    Raises:
        LookupError: the family is not in the table, and no list or more than one can be that of the blocks.
    """
    config: Any = model.config
    if config.model_type in ARCHITECTURES:
        return ARCHITECTURES[config.model_type]
    field, base = depth_field(config), _base(model)
    lists = _lists(model, int(getattr(config, field)))
    if len(lists) != 1 or not next(iter(lists)).startswith(base):
        paths = ", ".join(lists) or "none"
        raise LookupError(_unknown(config, f" (lists of {field} modules: {paths})"))
    ((path, layers),) = lists.items()
    parts = set.intersection(*({name for name, _ in block.named_modules()} for block in layers))
    assumed = {
        name: getattr(LLAMA, name)
        for name in ("attention", "mlp", "down", "attention_out")
        if getattr(LLAMA, name) in parts
    }
    linear = {
        name.rpartition(".")[2]
        for block in layers
        for name, module in block.named_modules()
        if isinstance(module, nn.Linear)
    }
    warnings.warn(
        f"model type {config.model_type!r} is not in avss_core/models/families.py; assumed that {path} holds "
        f"its blocks, {field} counts them, and their parts are {assumed or 'not known'}",
        stacklevel=2,
    )
    return Architecture(
        path.removeprefix(base),
        field,
        tuple(sorted(linear)),
        **({"attention": "", "mlp": "", "down": "", "attention_out": ""} | assumed),
    )


def depth_field(config: PretrainedConfig) -> str:
    """Return the name of the configuration field that counts the blocks.

    Raises:
        LookupError: the family is not in the table, and no field has a name of `DEPTH_FIELDS` or there are
            several models in one, each with a depth of its own.
    """
    if config.model_type in ARCHITECTURES:
        return ARCHITECTURES[config.model_type].depth
    values = {} if _parts(config) else config.to_dict()
    for field in DEPTH_FIELDS:
        if isinstance(values.get(field), int):
            return field
    raise LookupError(_unknown(config))


def context_length(config: PretrainedConfig) -> int | None:
    """Return the number of tokens that a model reads at a time; None if its configuration sets no limit."""
    room: int | None = getattr(config, "max_position_embeddings", None)
    return None if room is None else room - first_position(config)


def first_position(config: PretrainedConfig) -> int:
    """Return the number of a text's first position: behind the padding token's id in RoBERTa, else 0."""
    known = ARCHITECTURES.get(config.model_type)
    return int(config.pad_token_id or 0) + 1 if known is not None and known.pads_first else 0


def reads_both_ways(config: PretrainedConfig) -> bool:
    """Tell whether a model is an encoder, which reads a text in both directions."""
    known = ARCHITECTURES.get(config.model_type)
    return known is not None and not known.causal


def depth(config: PretrainedConfig) -> int:
    """Return the number of blocks."""
    return int(getattr(config, depth_field(config)))


def block_path(model: nn.Module) -> str:
    """Return the dotted path of a model's list of blocks."""
    return _base(model) + architecture_of(model).blocks


def blocks(model: nn.Module) -> nn.ModuleList:
    """Return the list of blocks, in depth order."""
    config: Any = model.config
    path = block_path(model)
    layers = model.get_submodule(path)
    if not isinstance(layers, nn.ModuleList) or len(layers) != depth(config):
        raise ValueError(
            f"{path} of a {config.model_type} model holds {type(layers).__name__}, "
            f"expected a list of {depth(config)} blocks, as its configuration says"
        )
    return layers


def window(config: PretrainedConfig) -> int:
    """Return the length of the attention window that some layers may have; 0 if the family has none."""
    known = ARCHITECTURES.get(config.model_type, LLAMA)
    return int(getattr(config, known.window, None) or 0)


def _base(model: nn.Module) -> str:
    """Return the path of the base model with a dot behind it; empty for a base model itself."""
    prefix = str(getattr(model, "base_model_prefix", "model"))
    return f"{prefix}." if prefix and hasattr(model, prefix) else ""


def _lists(model: nn.Module, length: int) -> dict[str, nn.ModuleList]:
    """Return the outermost lists of `length` modules, by path."""
    lists: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():  # from the outside in
        inner = any(path.startswith(f"{outer}.") for outer in lists)
        if isinstance(module, nn.ModuleList) and len(module) == length and not inner:
            lists[path] = module
    return lists


def _parts(config: PretrainedConfig) -> dict[str, PretrainedConfig]:
    """Return the configurations with a depth of their own inside a configuration, by field."""
    inside = {name: part for name, part in vars(config).items() if isinstance(part, PretrainedConfig)}
    return {
        name: part
        for name, part in inside.items()
        if _parts(part) or any(isinstance(part.to_dict().get(field), int) for field in DEPTH_FIELDS)
    }


def _unknown(config: PretrainedConfig, detail: str = "") -> str:
    """Return the message for a family that is not in the table."""
    model_type, parts = config.model_type, _parts(config)
    if parts:
        text = parts.get("text_config")
        hint = f"; save its language model alone, as {text.model_type}, and give that" if text else ""
        return (
            f"model type {model_type!r} is not supported: it is several models in one, each with layers of "
            f"its own (fields {', '.join(sorted(parts))}){hint}"
        )
    near = difflib.get_close_matches(model_type, ARCHITECTURES, n=1)
    hint = f" (nearest: {near[0]})" if near else ""
    return (
        f"model type {model_type!r} is not supported{hint}{detail}; known types: "
        f"{', '.join(sorted(ARCHITECTURES))}. Add a record to avss_core/models/families.py."
    )
