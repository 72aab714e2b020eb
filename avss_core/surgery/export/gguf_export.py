"""A checkpoint as a GGUF file for llama.cpp, Ollama and others, checked by reading it back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import gguf
import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, GgufConfig, PretrainedConfig, PreTrainedModel

from avss_core.files.digests import digest_tensor
from avss_core.files.shards import Stored, stored_tensors
from avss_core.files.writing import file_written_whole
from avss_core.models.architectures import depth
from avss_core.models.loading import (
    DTYPES,
    fitted_tokenizer,
    has_tokenizer,
    load_config,
    load_model,
    load_tokenizer,
)
from avss_core.progress import Progress, no_progress
from avss_core.surgery.checks import LOGIT_TOLERANCE
from avss_core.surgery.export.gguf_families import GgufFamily, gguf_family, read_config, rope_factors
from avss_core.surgery.export.gguf_metadata import FILE_TYPES, write_metadata
from avss_core.surgery.export.gguf_vocabulary import Vocabulary, vocabulary
from avss_core.surgery.probe import probe_logits

_KINDS = {
    "float32": gguf.GGMLQuantizationType.F32,
    "float16": gguf.GGMLQuantizationType.F16,
    "bfloat16": gguf.GGMLQuantizationType.BF16,
}
_ROPE_FACTORS = "rope_freqs.weight"


class GgufRecord(TypedDict):
    """What was written, and what reading it back gave."""

    architecture: str
    dtype: str
    layers: int
    tensors: int
    bytes: int
    pre_tokenizer: str
    logit_difference: float
    """Largest difference of a logit to the checkpoint's in the same dtype, relative to the largest logit."""
    tolerance: float
    set_by_hand: list[str]
    """Fields that the file holds and transformers does not read: taken from the checkpoint for the check."""


class _Placed(NamedTuple):
    """One tensor of the file, not read."""

    name: str
    source: Stored | Tensor
    shape: tuple[int, ...]
    kind: gguf.GGMLQuantizationType


@dataclass(frozen=True)
class GgufPlan:
    """What will be written; made from names and settings alone, before any weight is read."""

    folder: Path
    dtype: str
    config: PretrainedConfig
    read: PretrainedConfig
    """The configuration that the file is read with."""
    set_by_hand: list[str]
    family: GgufFamily
    words: Vocabulary
    tensors: list[_Placed]


def plan_gguf(folder: Path | str, dtype: str | None = None) -> GgufPlan:
    """Return what a checkpoint becomes as a GGUF file; a model that the format cannot hold is refused.

    Args:
        folder: a checkpoint folder.
        dtype: of the matrices, one of `FILE_TYPES`; None for that of the checkpoint.

    Raises:
        FileNotFoundError: the folder holds no checkpoint, or no tokenizer.
        LookupError: the family or the dtype is not supported.
        ValueError: the configuration, the tokenizer or a tensor cannot be written; names it.
    """
    folder = Path(folder)
    stored = stored_tensors(folder)
    config = load_config(str(folder))
    dtype = dtype or str(config.dtype).removeprefix("torch.")
    if dtype not in FILE_TYPES:
        raise LookupError(f"{folder} cannot be written as {dtype}; known: {', '.join(FILE_TYPES)}")
    if not has_tokenizer(folder):
        raise FileNotFoundError(
            f"{folder} has no tokenizer, without which a GGUF file cannot be run; put one there"
        )
    try:
        family = gguf_family(config)
        read, by_hand = read_config(config)
        tokenizer = fitted_tokenizer(load_tokenizer(str(folder)), config.vocab_size, str(folder))
        words = vocabulary(tokenizer, config)
    except (ValueError, LookupError) as error:
        raise type(error)(f"{folder}: {error}") from error
    tensors = list(_placed(folder, stored, config, family, dtype))
    return GgufPlan(folder, dtype, config, read, sorted(by_hand), family, words, tensors)


def export_gguf(plan: GgufPlan, out: Path | str, *, progress: Progress = no_progress) -> GgufRecord:
    """Write a GGUF file, read it back with transformers, and return what was written.

    Memory: the model once, in the dtype of the file, when it is checked.

    Args:
        plan: what is written.
        out: the file to make; nothing is left of it if anything fails.
        progress: called with 1 for each tensor that was written.

    Raises:
        FileExistsError: the file exists.
        ValueError: a number does not fit into the dtype, or what is read back is not the checkpoint.
        OSError: the file cannot be written.
    """
    out = Path(out)
    with file_written_whole(out) as part:
        _write(plan, part, progress)
        size = part.stat().st_size
        expected = _logits(load_model(str(plan.folder), dtype=plan.dtype))
        measured = _logits(_read_back(part, plan))
        difference = float((measured - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
        tolerance = max(LOGIT_TOLERANCE, 4 * torch.finfo(DTYPES[plan.dtype]).eps)
        if not difference <= tolerance:
            raise ValueError(
                f"{plan.folder} as GGUF is another model: read back by transformers its logits differ by "
                f"{difference:.1e} of the largest, and {tolerance:.1e} is allowed. Nothing was written"
            )
    return {
        "architecture": plan.family.architecture,
        "dtype": plan.dtype,
        "layers": depth(plan.config),
        "tensors": len(plan.tensors),
        "bytes": size,
        "pre_tokenizer": plan.words.splitting,
        "logit_difference": difference,
        "tolerance": tolerance,
        "set_by_hand": plan.set_by_hand,
    }


def _placed(
    folder: Path, stored: Mapping[str, Stored], config: PretrainedConfig, family: GgufFamily, dtype: str
) -> Iterator[_Placed]:
    """Yield every tensor of the file, under llama.cpp's names.

    Raises:
        ValueError: llama.cpp has no name for a tensor.
    """
    architecture = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[family.architecture]
    names = gguf.get_tensor_name_map(architecture, depth(config))
    if (factors := rope_factors(config)) is not None:
        yield _Placed(_ROPE_FACTORS, factors, tuple(factors.shape), gguf.GGMLQuantizationType.F32)
    for name, tensor in stored.items():
        place = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if place is None:
            raise ValueError(
                f"{folder} cannot be written as GGUF: {family.architecture} has no tensor {name}"
            )
        if place == "output.weight" and _is_tied(stored, tensor, config):
            continue
        shape = tensor.shape[::-1] if name.endswith(family.transposed) else tensor.shape
        is_vector = len(shape) < 2 or place.endswith("_norm.weight") or place == "position_embd.weight"
        kind = gguf.GGMLQuantizationType.F32 if is_vector else _KINDS[dtype]
        yield _Placed(place, tensor, tuple(shape), kind)


def _is_tied(stored: Mapping[str, Stored], head: Stored, config: PretrainedConfig) -> bool:
    """Tell whether a stored head is the embedding once more, as some tools write tied weights."""
    if not config.tie_word_embeddings:
        return False
    embeddings = [
        tensor for name, tensor in stored.items() if name.endswith(("embed_tokens.weight", "wte.weight"))
    ]
    return [digest_tensor(_read(each)) for each in embeddings] == [digest_tensor(_read(head))]


def _write(plan: GgufPlan, file: Path, progress: Progress) -> None:
    """Write the file: metadata, then one tensor after the other."""
    writer = gguf.GGUFWriter(file, plan.family.architecture)
    try:
        for tensor in plan.tensors:
            width = 4 if tensor.kind == gguf.GGMLQuantizationType.F32 else 2
            size = width * int(np.prod(tensor.shape))
            writer.add_tensor_info(
                tensor.name, tensor.shape, np.dtype(np.float32), size, raw_dtype=tensor.kind
            )
        write_metadata(writer, plan.folder, plan.config, plan.family, plan.dtype)
        plan.words.write(writer)
        writer.write_header_to_file(file)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in plan.tensors:
            writer.write_tensor_data(_values(tensor, plan).numpy())
            progress(1)
    finally:
        writer.close()


def _values(placed: _Placed, plan: GgufPlan) -> Tensor:
    """Return the numbers of a tensor as the file holds them.

    Raises:
        ValueError: a number is beyond the dtype's range.
    """
    if isinstance(placed.source, Tensor):
        return placed.source.float()
    tensor, name = _read(placed.source), placed.source.name
    if plan.family.permuted and name.endswith(("q_proj.weight", "k_proj.weight")):
        heads = plan.config.num_attention_heads if "q_proj" in name else plan.config.num_key_value_heads
        tensor = tensor.reshape(heads, 2, -1, tensor.shape[-1]).transpose(1, 2).reshape(tensor.shape)
    if plan.family.shifted and name.endswith("norm.weight"):
        tensor = tensor.float() + 1
    if name.endswith(plan.family.transposed):
        tensor = tensor.T
    is_wide = placed.kind == gguf.GGMLQuantizationType.F32
    stored = tensor.to(torch.float32 if is_wide else DTYPES[plan.dtype]).contiguous()
    if not is_wide and (stored.isinf() & tensor.isfinite()).any():
        raise ValueError(
            f"{plan.folder} cannot be written as {plan.dtype}: numbers of {name} are beyond its range; "
            "choose bfloat16 or float32"
        )
    # numpy has no bfloat16: bytes say the same.
    return stored.view(torch.uint8)


def _read(tensor: Stored) -> Tensor:
    """Return the values of a stored tensor."""
    with safe_open(tensor.file, framework="pt") as handle:
        values: Tensor = handle.get_tensor(tensor.name)
    return values


def _read_back(file: Path, plan: GgufPlan) -> PreTrainedModel:
    """Return the model that transformers reads from the file.

    What the metadata says is read from it, but for the fields that transformers does not know there.
    """
    config = load_config(str(file))
    for field in plan.set_by_hand:
        setattr(config, field, getattr(plan.read, field))
    model: Any = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        config=config,
        trust_remote_code=False,
        dtype=DTYPES[plan.dtype],
        quantization_config=GgufConfig(dequantize=True),
    )
    ready: PreTrainedModel = model.eval()
    return ready


def _logits(model: PreTrainedModel) -> Tensor:
    """Return the logits of the probe prompt."""
    return torch.tensor(probe_logits(model))
