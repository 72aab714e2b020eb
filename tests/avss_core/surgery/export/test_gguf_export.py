import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from avss_core.models.loading import load_model, load_tokenizer
from avss_core.surgery.export.gguf_export import export_gguf, plan_gguf
from avss_core.surgery.export.gguf_families import GGUF_FAMILIES
from tests.vocabularies import SIZE, byte_pairs, pieces

SLID, FULL = "sliding_attention", "full_attention"
NO_WINDOW = {"use_sliding_window": False, "sliding_window": None}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "gemma2": {"layer_types": [SLID, FULL] * 3},
    "gemma3_text": {"layer_types": [SLID] * 5 + [FULL]},
    "gpt2": {},
    "llama": {},
    "mistral": {"sliding_window": None, "head_dim": 16},
    "qwen2": NO_WINDOW,
    "qwen3": {**NO_WINDOW, "head_dim": 16},
}
_FFN, _ATTENTION = (
    ["ffn_down", "ffn_gate", "ffn_norm", "ffn_up"],
    ["attn_k", "attn_output", "attn_q", "attn_v"],
)
_COMMON = [*_FFN, *_ATTENTION, "attn_norm"]
_BIASED = ["attn_norm", "attn_output", "attn_qkv", "ffn_down", "ffn_norm", "ffn_up"]
# What convert_hf_to_gguf.py of llama.cpp (in llama-cpp-python 0.3.36) calls the tensors of a block.
BLOCKS: dict[str, list[str]] = {
    "gemma2": [f"{name}.weight" for name in [*_COMMON, "post_attention_norm", "post_ffw_norm"]],
    "gemma3_text": [
        f"{name}.weight"
        for name in [*_COMMON, "attn_k_norm", "attn_q_norm", "post_attention_norm", "post_ffw_norm"]
    ],
    "gpt2": [f"{name}.{kind}" for name in _BIASED for kind in ("weight", "bias")],
    "llama": [f"{name}.weight" for name in _COMMON],
    "mistral": [f"{name}.weight" for name in _COMMON],
    "qwen2": [f"{n}.weight" for n in _COMMON] + [f"attn_{part}.bias" for part in "kqv"],
    "qwen3": [f"{name}.weight" for name in [*_COMMON, "attn_k_norm", "attn_q_norm"]],
}
OUTSIDE = {"token_embd.weight", "output_norm.weight"}


@pytest.fixture
def saved(tiny: Any, tmp_path: Path) -> Any:
    """A function that saves a tiny model of a family, with a tokenizer, and returns its folder."""

    def save(family: str, dtype: torch.dtype = torch.float32, words: Any = None, **settings: Any) -> Path:
        tokenizer = words or (pieces() if family.startswith("gemma") else byte_pairs("digit"))
        model = tiny(family, **{**SETTINGS.get(family, {}), "vocab_size": SIZE, **settings})
        folder = tmp_path / "checkpoint"
        model.to(dtype).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


def contents(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the metadata, and the tensors as float32."""
    reader: Any = gguf.GGUFReader(file)
    tensors = {t.name: gguf.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    return {name: field.contents() for name, field in reader.fields.items()}, tensors


@pytest.mark.parametrize("family", sorted(GGUF_FAMILIES))
def test_a_checkpoint_has_the_names_of_the_converter_and_the_logits_of_the_checkpoint(
    saved: Any, tmp_path: Path, family: str
) -> None:
    folder, out = saved(family, torch.bfloat16), tmp_path / "made.gguf"
    record = export_gguf(plan_gguf(folder), out)
    said, tensors = contents(out)
    expected = {f"blk.{layer}.{name}" for layer in range(6) for name in BLOCKS[family]} | OUTSIDE
    expected |= {"output_norm.bias", "position_embd.weight"} if family == "gpt2" else set()
    assert tensors.keys() == expected
    assert record["logit_difference"] < 1e-6
    assert (record["dtype"], record["layers"], record["tensors"]) == ("bfloat16", 6, len(expected))
    assert record["bytes"] == out.stat().st_size
    architecture = said["general.architecture"]
    assert said["general.file_type"] == gguf.LlamaFileType.MOSTLY_BF16
    assert said[f"{architecture}.block_count"] == 6
    assert said[f"{architecture}.context_length"] == 128
    assert len(said["tokenizer.ggml.tokens"]) == SIZE


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_another_dtype_than_the_checkpoints(saved: Any, tmp_path: Path, dtype: str) -> None:
    record = export_gguf(plan_gguf(saved("llama"), dtype), tmp_path / "made.gguf")
    assert record["logit_difference"] <= record["tolerance"]
    reader: Any = gguf.GGUFReader(tmp_path / "made.gguf")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.attn_q.weight"] == {"float32": "F32", "float16": "F16"}[dtype]
    assert kinds["blk.0.attn_norm.weight"] == "F32"


def test_rows_of_queries_and_keys_pair_the_halves_of_a_head(saved: Any, tmp_path: Path) -> None:
    folder = saved("llama")
    export_gguf(plan_gguf(folder), tmp_path / "made.gguf")
    tensors = contents(tmp_path / "made.gguf")[1]
    state = load_file(folder / "model.safetensors")
    for part, heads in (("q", 4), ("k", 2)):
        own = state[f"model.layers.3.self_attn.{part}_proj.weight"].numpy()
        # Row 0 of a head is followed by the row half a head behind it, and so on.
        order = [head * 8 + row + half * 4 for head in range(heads) for row in range(4) for half in (0, 1)]
        assert np.array_equal(tensors[f"blk.3.attn_{part}.weight"], own[order])
    assert np.array_equal(tensors["blk.3.attn_v.weight"], state["model.layers.3.self_attn.v_proj.weight"])


def test_norms_of_gemma_are_stored_with_1_added(saved: Any, tmp_path: Path) -> None:
    folder = saved("gemma3_text")
    export_gguf(plan_gguf(folder), tmp_path / "made.gguf")
    said, tensors = contents(tmp_path / "made.gguf")
    state = load_file(folder / "model.safetensors")
    for name, own in (
        ("blk.2.attn_q_norm", "model.layers.2.self_attn.q_norm"),
        ("blk.2.post_ffw_norm", "model.layers.2.post_feedforward_layernorm"),
        ("output_norm", "model.norm"),
    ):
        assert np.array_equal(tensors[f"{name}.weight"], (state[f"{own}.weight"] + 1).numpy())
    assert said["gemma3.attention.sliding_window"] == 8
    assert (said["gemma3.rope.freq_base"], said["gemma3.rope.freq_base_swa"]) == (1e6, 1e4)
    assert said["gemma3.attention.key_length"] == 8


def test_a_head_of_its_own_is_written_and_a_tied_one_is_not(saved: Any, tmp_path: Path) -> None:
    folder = saved("llama", tie_word_embeddings=False)
    export_gguf(plan_gguf(folder), tmp_path / "own.gguf")
    assert "output.weight" in contents(tmp_path / "own.gguf")[1]
    tied = saved("llama")
    state = load_file(tied / "model.safetensors")
    # As older tools write it: once more under the name of the head.
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    save_file(state, tied / "model.safetensors", {"format": "pt"})
    export_gguf(plan_gguf(tied), tmp_path / "tied.gguf")
    assert "output.weight" not in contents(tmp_path / "tied.gguf")[1]


def test_the_stretched_frequencies_of_llama_3_are_a_tensor(saved: Any, tmp_path: Path) -> None:
    plan = plan_gguf(saved("llama", rope_parameters=LLAMA3))
    record = export_gguf(plan, tmp_path / "made.gguf")
    said, tensors = contents(tmp_path / "made.gguf")
    assert record["set_by_hand"] == ["rope_parameters"]
    assert said["llama.rope.freq_base"] == 5e5
    assert tensors["rope_freqs.weight"].tolist() == pytest.approx([1, 8, 8, 8])


def test_names_and_keys_are_those_of_the_file_of_the_embedded_model(
    saved: Any, tmp_path: Path, embedded: Any
) -> None:
    """That file was made by llama.cpp's converter, from the published checkpoint with its card."""
    placed = {tensor.name: len(tensor.shape) for tensor in plan_gguf(saved("llama", layers=30)).tensors}
    assert placed == {tensor.name: len(tensor.shape) for tensor in embedded.tensors}
    export_gguf(plan_gguf(saved("llama")), tmp_path / "made.gguf")
    said = contents(tmp_path / "made.gguf")[0]
    from_card = {
        f"general.{name}" for name in ("basename", "finetune", "languages", "license", "organization")
    }
    assert embedded.fields.keys() - said.keys() == from_card | {"tokenizer.ggml.unknown_token_id"}
    assert said.keys() - embedded.fields.keys() == {
        "llama.attention.key_length",  # which the converter has begun to write since
        "llama.attention.value_length",
        "tokenizer.ggml.add_eos_token",
    }


def test_transformers_reads_the_tokenizer_back(saved: Any, tmp_path: Path) -> None:
    text = "Zwölf of the licence, and <tool>"
    for words in (byte_pairs(), pieces()):
        folder, out = saved("llama", words=words), tmp_path / f"{words.bos_token_id}.gguf"
        export_gguf(plan_gguf(folder), out)
        assert load_tokenizer(str(out))(text).input_ids == words(text).input_ids
        assert load_model(str(out)).config.vocab_size == SIZE
        out.unlink()


def test_licence_and_base_model_come_from_the_card(saved: Any, tmp_path: Path) -> None:
    folder = saved("llama")
    (folder / "README.md").write_text("---\nbase_model: owner/base-model\nlicense: apache-2.0\n---\n# Card\n")
    export_gguf(plan_gguf(folder), tmp_path / "made.gguf")
    said = contents(tmp_path / "made.gguf")[0]
    assert said["general.license"] == "apache-2.0"
    assert said["general.base_model.0.repo_url"].endswith("/owner/base-model")
    assert said["general.type"] == "model"


def test_what_is_read_back_wrong_leaves_nothing(saved: Any, tmp_path: Path) -> None:
    plan = plan_gguf(saved("llama"))
    wrong = replace(plan, family=replace(plan.family, permuted=False))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"as GGUF is another model: .* 1.0e-03 is allowed. Nothing was"):
        export_gguf(wrong, tmp_path / "new" / "made.gguf")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_number_beyond_the_dtype_is_refused_by_name(saved: Any, tmp_path: Path) -> None:
    folder = saved("llama")
    state = load_file(folder / "model.safetensors")
    state["model.layers.2.mlp.up_proj.weight"][3, 4] = 1e6
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"as float16: numbers of model.layers.2.mlp.up_proj.weight are beyond"
    ):
        export_gguf(plan_gguf(folder, "float16"), tmp_path / "made.gguf")
    assert sorted(tmp_path.iterdir()) == [folder]


@contextmanager
def room(size: int) -> Iterator[None]:
    """Let no file grow larger, as on a full disk."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_full_disk_leaves_nothing_and_says_what_to_do(saved: Any, tmp_path: Path, size: int) -> None:
    folder = saved("llama")
    plan = plan_gguf(folder)
    with room(size), pytest.raises(OSError, match=r"cannot write .*made.gguf: .*; free some space"):
        export_gguf(plan, tmp_path / "made.gguf")
    assert sorted(tmp_path.iterdir()) == [folder]


def test_a_file_in_the_place_is_not_replaced(saved: Any, tmp_path: Path) -> None:
    (tmp_path / "made.gguf").write_text("mine")
    with pytest.raises(FileExistsError, match=r"made.gguf exists already"):
        export_gguf(plan_gguf(saved("llama")), tmp_path / "made.gguf")
    assert (tmp_path / "made.gguf").read_text() == "mine"


def test_what_cannot_be_written_is_refused_by_the_plan(saved: Any, tmp_path: Path) -> None:
    folder = saved("llama")
    with pytest.raises(LookupError, match=r"cannot be written as int8; known: float32, float16, bfloat16"):
        plan_gguf(folder, "int8")
    state = load_file(folder / "model.safetensors")
    state["model.layers.0.extra.weight"] = torch.zeros(2)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=r"llama has no tensor model.layers.0.extra.weight"):
        plan_gguf(folder)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer, without which"):
        plan_gguf(folder)
    with pytest.raises(FileNotFoundError, match=r"cannot load"):
        plan_gguf(tmp_path / "gone")


def test_a_refusal_names_the_folder(saved: Any) -> None:
    with pytest.raises(LookupError, match=r"checkpoint: opt models are not written as GGUF"):
        plan_gguf(saved("opt"))


def test_blocks_that_removing_layers_has_mixed_up_are_refused(saved: Any) -> None:
    folder = saved("gemma3_text", layer_types=[SLID, SLID, SLID, FULL, SLID, SLID])
    with pytest.raises(ValueError, match=r"checkpoint: cannot be written as GGUF: its blocks are not alike"):
        plan_gguf(folder)


def test_progress_counts_the_tensors(saved: Any, tmp_path: Path) -> None:
    seen: list[int] = []
    record = export_gguf(plan_gguf(saved("llama")), tmp_path / "made.gguf", progress=seen.append)
    assert sum(seen) == record["tensors"]
