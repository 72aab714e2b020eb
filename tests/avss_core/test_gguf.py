"""Prune what was read from a GGUF file: the result is a plain checkpoint that knows nothing of it."""

import os
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from avss_core.files.digests import digest_path
from avss_core.files.writing import read_json
from avss_core.models.architectures import block_path
from avss_core.models.loading import load_config, load_model, load_tokenizer
from avss_core.surgery import certificate
from avss_core.surgery.certificate import inspect_with_logits, kept_source, write_certified
from avss_core.surgery.pruning import prune

KEPT = [0, 2, 3, 5]
ROTATED = {"q_proj": 4, "k_proj": 2}  # llama.cpp pairs the halves of a head as neighbours


def rotated(name: str, tensor: torch.Tensor) -> np.ndarray:
    values: np.ndarray = tensor.numpy()
    for part, heads in ROTATED.items():
        if part in name:
            halves = values.reshape(heads, 2, -1, values.shape[1])
            values = halves.swapaxes(1, 2).reshape(values.shape)
    return np.ascontiguousarray(values)


@pytest.fixture
def file(tiny_llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    """The tiny Llama with its tokenizer as llama.cpp keeps them; float32."""
    path, config = tmp_path / "source" / "tiny.gguf", tiny_llama.config
    path.parent.mkdir()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    # A vocabulary without a merge cannot be written.
    writer.add_token_list([*tokenizer.convert_ids_to_tokens(range(257)), "qz", "<1>", "<2>"])
    writer.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * 4)
    writer.add_token_merges(["q z"])
    writer.add_eos_token_id(256)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in tiny_llama.state_dict().items():
        if name != "lm_head.weight":  # tied
            found = names.get_name(name, try_suffixes=(".weight",))
            assert found is not None
            writer.add_tensor(found, rotated(name, tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_gives_model_and_tokenizer(
    file: Path, tiny_llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    found = load_model(str(file)).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in tiny_llama.state_dict().items())
    text = "Zwölf <|endoftext|> of 3.5"
    assert load_tokenizer(str(file))(text).input_ids == tokenizer(text).input_ids
    assert load_model(str(file), dtype="bfloat16").dtype == torch.bfloat16


def test_what_was_pruned_is_certified_and_needs_no_gguf(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "inspect_afresh", inspect_with_logits)
    before, folder = digest_path(file.parent), tmp_path / "pruned"
    model, tokenizer = load_model(str(file)), load_tokenizer(str(file))
    source = kept_source(model.state_dict(), block_path(model), KEPT)
    write_certified(
        prune(model, [1, 4]), tokenizer, folder, source=source, layer_map=KEPT, provenance={}
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "gguf", None)  # it cannot be imported from here on
    with pytest.raises(ImportError):
        load_model(str(file))
    assert all(check.passed for check in inspect_with_logits(folder)[0])
    assert AutoTokenizer.from_pretrained(folder)("a").input_ids == tokenizer("a").input_ids
    config = read_json(folder / "config.json")
    assert "quantization_config" not in config
    assert "gguf" not in "".join(path.read_text() for path in folder.glob("*config.json")).lower()
    assert config["num_hidden_layers"] == 4
    assert digest_path(file.parent) == before


@pytest.mark.parametrize("size", [0, 3, 100, 3000, 80_000])
def test_a_gguf_file_that_was_cut_off_is_named(file: Path, size: int) -> None:
    os.truncate(file, size)
    with pytest.raises(ValueError, match=f"{file} cannot be read: "):
        load_model(str(file))


def test_a_gguf_file_of_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    file = tmp_path / "odd.gguf"
    writer: Any = gguf.GGUFWriter(file, "oddity")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ValueError, match=f"{file} cannot be read: .*oddity"):
        load_config(str(file))
