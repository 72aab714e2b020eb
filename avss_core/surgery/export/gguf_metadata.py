"""The metadata of a GGUF file under llama.cpp's names: what the model is, and its sizes."""

from pathlib import Path
from typing import Any

import gguf
from transformers import PretrainedConfig

from avss_core.models.architectures import context_length, depth
from avss_core.surgery.export.gguf_families import GgufFamily, rope_of

FILE_TYPES = {
    "float32": gguf.LlamaFileType.ALL_F32,
    "float16": gguf.LlamaFileType.MOSTLY_F16,
    "bfloat16": gguf.LlamaFileType.MOSTLY_BF16,
}
"""What llama.cpp calls a file by the dtype of its matrices; vectors are float32 in each."""


def write_metadata(
    writer: gguf.GGUFWriter, folder: Path, config: PretrainedConfig, family: GgufFamily, dtype: str
) -> None:
    """Write all metadata but the vocabulary.

    Name, licence and base model come from the card of the folder, as llama.cpp's converter takes them.

    Args:
        writer: has the tensors' sizes already, which the size in the name is made of.
        folder: the checkpoint.
        config: of the model.
        family: how it is written.
        dtype: one of `FILE_TYPES`.
    """
    total, shared, experts, count = writer.get_total_parameter_count()
    described = gguf.Metadata.load(None, folder, None, total)
    described.name = described.name or folder.resolve().name
    described.size_label = described.size_label or gguf.size_label(total, shared, experts, count)
    writer.add_type(gguf.GGUFType.MODEL)
    described.set_gguf_meta_model(writer)
    _write_sizes(writer, config)
    _write_attention(writer, config, family)
    _write_rope(writer, config)
    if family.architecture == "llama":
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(config.head_dim)
    writer.add_file_type(FILE_TYPES[dtype])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _write_sizes(writer: gguf.GGUFWriter, config: Any) -> None:
    """Write depth, widths, context and the floor of the norms."""
    writer.add_block_count(depth(config))
    writer.add_context_length(int(context_length(config) or 0))
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    if hasattr(config, "rms_norm_eps"):
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    else:
        writer.add_layer_norm_eps(config.layer_norm_epsilon)


def _write_attention(writer: gguf.GGUFWriter, config: Any, family: GgufFamily) -> None:
    """Write heads, the attention window and the caps of logits."""
    writer.add_head_count(config.num_attention_heads)
    if (grouped := getattr(config, "num_key_value_heads", None)) is not None:
        writer.add_head_count_kv(grouped)
    if (size := getattr(config, "head_dim", None)) is not None:
        writer.add_key_length(size)
        writer.add_value_length(size)
    if family.shifted:  # of Gemma alone the readers know which blocks have the window
        writer.add_sliding_window(config.sliding_window)
        if (cap := config.final_logit_softcapping) is not None:
            writer.add_final_logit_softcapping(cap)
        if (cap := config.attn_logit_softcapping) is not None:
            writer.add_attn_logit_softcapping(cap)


def _write_rope(writer: gguf.GGUFWriter, config: PretrainedConfig) -> None:
    """Write the rotary embedding; a model may have another one where attention has a window."""
    rope, windowed = rope_of(config), rope_of(config, "sliding_attention")
    if not rope:
        return
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope is not windowed:
        writer.add_rope_freq_base_swa(windowed["rope_theta"])
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
