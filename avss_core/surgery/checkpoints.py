"""Prune a checkpoint folder by copying tensors: the model is never loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedModel

from avss_core.files.shards import MAX_SHARD_SIZE, Stored, digest_stored, stored_tensors, write_shards
from avss_core.models.architectures import ARCHITECTURES, block_path, depth
from avss_core.models.configuration import kept_layers, pruned_config
from avss_core.models.loading import DTYPES, empty_model, load_config
from avss_core.models.saving import save_config
from avss_core.models.sizes import parameter_count, stored_state, tied_names
from avss_core.surgery.pruning import pruned_state
from avss_core.surgery.survivors import check_survivors

_STORED_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True)
class CopyPlan:
    """A pruned checkpoint before anything is copied."""

    model: PreTrainedModel
    """The pruned model: configuration and shapes, no tensors in memory."""
    tensors: Mapping[str, Stored]
    """Each of its tensors in the source, by new name."""
    dense_parameters: int


def plan_copy(folder: Path, removed: Sequence[int], dtype: str) -> CopyPlan | None:
    """Return how to prune a checkpoint folder without loading it; None if its tensors must be converted.

    They must be if the source has another dtype or holds tensors under other names or shapes than the loaded
    model, or if the family is unknown or an encoder. The caller then loads the model.

    Args:
        folder: a checkpoint; it is not changed.
        removed: checked numbers of the layers to remove.
        dtype: one of `DTYPES`.

    Raises:
        FileNotFoundError: a file of the checkpoint is missing.
        ValueError: the checkpoint is damaged, or its configuration cannot follow.
        LookupError: the model family is not supported.
    """
    config = load_config(str(folder))
    stored = stored_tensors(folder)
    known = ARCHITECTURES.get(config.model_type)
    if known is None or not known.causal or getattr(config, "quantization_config", None) is not None:
        return None
    dense = empty_model(config, dtype)
    named = _without_copies(_by_own_name(stored, dense), dense)
    shapes = {name: tuple(tensor.shape) for name, tensor in stored_state(dense).items()}
    if {name: tensor.shape for name, tensor in named.items()} != shapes:
        return None
    if {_STORED_DTYPES.get(tensor.dtype) for tensor in named.values()} != {DTYPES[dtype]}:
        return None
    pruned = empty_model(pruned_config(config, removed), dtype)
    pruned.generation_config = _generation_config(folder)
    path, kept = block_path(dense), kept_layers(depth(config), removed)
    check_survivors(dense.get_submodule(path), pruned.get_submodule(path), kept)
    state = pruned_state(named, path, kept)
    wanted = stored_state(pruned)
    if state.keys() != wanted.keys():
        odd = sorted(state.keys() ^ wanted.keys())
        raise ValueError(f"pruning {config.model_type} leaves tensors without a place or a source: {odd[:5]}")
    return CopyPlan(
        pruned, {name: state[name] for name in sorted(wanted, key=_depth_order)}, parameter_count(dense)
    )


def write_copy(plan: CopyPlan, folder: Path, max_shard_size: int | str = MAX_SHARD_SIZE) -> dict[str, str]:
    """Write the files of a pruned checkpoint except the tokenizer's, and return the digest of each tensor.

    Raises:
        OSError: a file cannot be written.
    """
    model = plan.model
    model.config.architectures = [type(model).__name__]
    model.config.dtype = str(model.dtype).removeprefix("torch.")
    save_config(model.config, folder)
    if model.can_generate() and model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    return write_shards(
        plan.tensors, folder, parameters=parameter_count(model), max_shard_size=max_shard_size
    )


def _depth_order(name: str) -> list[tuple[int, int, str]]:
    """Return the key by which `save_pretrained` fills files: blocks in depth order, else by name."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]


def _generation_config(folder: Path) -> GenerationConfig:
    """Return the generation settings that the loaded model would have."""
    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig.from_pretrained(folder, config_file_name="config.json", _from_model_config=True)


def _by_own_name(stored: Mapping[str, Stored], model: PreTrainedModel) -> dict[str, Stored]:
    """Return stored tensors by the model's own names: some checkpoints leave out the base model's prefix."""
    own = model.state_dict().keys()
    named = {}
    for name, tensor in stored.items():
        prefixed = f"{model.base_model_prefix}.{name}"
        named[prefixed if name not in own and prefixed in own else name] = tensor
    return named


def _without_copies(named: Mapping[str, Stored], model: PreTrainedModel) -> dict[str, Stored]:
    """Return stored tensors without tied ones that are stored a second time to the bit."""
    tied = tied_names(model)
    return {
        name: tensor
        for name, tensor in named.items()
        if not (tied.get(name) in named and digest_stored(tensor) == digest_stored(named[tied[name]]))
    }
