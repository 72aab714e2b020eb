"""Tiny models and a byte-level tokenizer, made in memory: nothing is downloaded."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

# The same examples each time, and no time limit that a loaded machine could break.
settings.register_profile("steady", deadline=None, derandomize=True, database=None)
settings.load_profile("steady")

torch.set_num_threads(1)  # tiny matrices: a second thread costs more than it does

TinyModel = Callable[..., PreTrainedModel]

VOCABULARY = 260  # the tokenizer's 257 and some padding, as many real models have
END_OF_TEXT = 256
WINDOW = 8

# The large initial weights make every layer matter; with the usual 0.02 each would be nearly the identity.
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": END_OF_TEXT,
    "pad_token_id": END_OF_TEXT,
}
GROUPED = {"intermediate_size": 64, "num_key_value_heads": 2}
SLIDING = {**GROUPED, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 3}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "gpt_neox": {"intermediate_size": 64},
    "llama": GROUPED,
    "mistral": {**GROUPED, "sliding_window": WINDOW},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "qwen2": SLIDING,
    "qwen3": {**SLIDING, "head_dim": 8},
}


def _build(family: str, layers: int = 6, **settings: Any) -> PreTrainedModel:
    sizes = {**SIZES, **FAMILIES[family], "num_hidden_layers": layers, **settings}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes))
        # No two layers share a tensor's value, norms and biases included: a mix-up of layers always shows.
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model.eval()


def _untouched(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    yield model
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items()), (
        "a test changed a shared model"
    )


@pytest.fixture(scope="session")
def tiny() -> TinyModel:
    """A factory of random models in float32 and evaluation mode: `tiny(family, layers=6, **settings)`."""
    return _build


@pytest.fixture(scope="session")
def tiny_llama() -> Iterator[PreTrainedModel]:
    """Six layers, tied embeddings, grouped-query attention; read-only."""
    yield from _untouched(_build("llama"))


@pytest.fixture(scope="session")
def tiny_gpt2() -> Iterator[PreTrainedModel]:
    """Six layers, tied embeddings; read-only."""
    yield from _untouched(_build("gpt2"))


@pytest.fixture(scope="session", params=["tiny_llama", "tiny_gpt2"])
def tiny_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Each of the two tiny models in turn; read-only."""
    model: PreTrainedModel = request.getfixturevalue(request.param)
    return model


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and <|endoftext|> (256) as end and padding; no beginning-of-text token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|endoftext|>", pad_token="<|endoftext|>", model_max_length=128
    )


@pytest.fixture
def checkpoint(tiny_llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    """A folder with the tiny Llama and its tokenizer."""
    folder = tmp_path / "checkpoint"
    tiny_llama.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
