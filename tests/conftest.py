"""Tiny models and a byte-level tokenizer, made in memory; and a home for all that flows leave behind."""

import atexit
import copy
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import BertProcessing
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

# Set before any test imports flows or prefect, which read it once: nothing is written into the repository,
# and no run finds what an earlier one has cached.
_HOME = tempfile.TemporaryDirectory(prefix="avss-tests-")
atexit.register(_HOME.cleanup)
os.environ["AVSS_HOME"] = _HOME.name

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
FULL, SLID = "full_attention", "sliding_attention"
# In no regular order, so that a list which is cut where it should be sliced shows.
LAYER_TYPES = [FULL, SLID, SLID, FULL, SLID, FULL, FULL, SLID]
NO_ROPE_LAYERS = [1, 1, 0, 1, 0, 0, 1, 1]
GROUPED = {"intermediate_size": 64, "num_key_value_heads": 2}
SLIDING = {**GROUPED, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 3}
GEMMA = {**GROUPED, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": WINDOW}
BEHIND_PADDING = {"intermediate_size": 64, "pad_token_id": 1, "max_position_embeddings": 130}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {"intermediate_size": 64},
    "camembert": BEHIND_PADDING,
    "distilbert": {"hidden_dim": 64},
    "electra": {"intermediate_size": 64, "embedding_size": 16},
    "falcon": {"ffn_hidden_size": 64},
    "gemma": {**GROUPED, "head_dim": 8},
    "gemma2": {**GEMMA, "final_logit_softcapping": 5.0},
    "gemma3_text": GEMMA,
    "glm": {**GROUPED, "head_dim": 8, "attention_bias": True},
    "glm4": {**GROUPED, "head_dim": 8, "attention_bias": True},
    "gpt2": {},
    "gpt_neo": {"intermediate_size": 64, "window_size": WINDOW},
    "gpt_neox": {"intermediate_size": 64},
    "llama": GROUPED,
    "mistral": {**GROUPED, "sliding_window": WINDOW},
    "mpnet": BEHIND_PADDING,
    "olmo": {**GROUPED, "clip_qkv": 8.0},
    "olmo2": GROUPED,
    "olmo3": {**GROUPED, "sliding_window": WINDOW},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "phi": GROUPED,
    "phi3": {**GROUPED, "sliding_window": WINDOW},
    "qwen2": SLIDING,
    "qwen3": {**SLIDING, "head_dim": 8},
    "roberta": BEHIND_PADDING,
    "smollm3": {**GROUPED, "use_sliding_window": True, "sliding_window": WINDOW},
    "stablelm": {**GROUPED, "qk_layernorm": True, "use_qkv_bias": True},
    "starcoder2": {**GROUPED, "sliding_window": WINDOW},
    "xlm-roberta": BEHIND_PADDING,
}
MASKED = {"bert", "camembert", "distilbert", "electra", "mpnet", "roberta", "xlm-roberta"}


def _kinds(family: str, layers: int) -> dict[str, Any]:
    if family == "gpt_neo":
        return {"attention_types": [[["global" if k == FULL else "local" for k in LAYER_TYPES[:layers]], 1]]}
    if family in {"gemma2", "gemma3_text", "olmo3", "smollm3"}:
        no_rope = {"no_rope_layers": NO_ROPE_LAYERS[:layers]} if family == "smollm3" else {}
        return {"layer_types": LAYER_TYPES[:layers], **no_rope}
    return {}


def _auto(family: str) -> Any:
    return AutoModelForMaskedLM if family in MASKED else AutoModelForCausalLM


def _build(family: str, layers: int = 6, *, auto: Any = None, **settings: Any) -> PreTrainedModel:
    sizes = {**SIZES, **FAMILIES[family], **_kinds(family, layers), "num_hidden_layers": layers, **settings}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = (auto or _auto(family)).from_config(AutoConfig.for_model(family, **sizes))
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
    """A factory of random models in float32 and evaluation mode: `tiny(family, layers=6, **settings)`.

    With `auto=`, one of the library's Auto classes, the model has another head than for language modelling.
    """
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


@pytest.fixture(scope="session")
def encoder_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """One token a byte, each text between [CLS] (257) and [SEP] (258); [MASK] is 259, padding 256."""
    marked = copy.deepcopy(tokenizer)
    names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    marked.add_special_tokens(names)
    cls, sep = ((name, marked.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]"))
    marked.backend_tokenizer.post_processor = BertProcessing(sep, cls)
    return marked


@pytest.fixture
def checkpoint(tiny_llama: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    """A folder with the tiny Llama and its tokenizer."""
    folder = tmp_path / "checkpoint"
    tiny_llama.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was checked of each family of models, where that was."""
    signs = {"passed": "+", "skipped": ".", "failed": "F", "error": "E"}
    cells: dict[tuple[str, str], str] = {}
    lines: dict[str, int] = {}
    for outcome, sign in signs.items():
        for report in terminalreporter.stats.get(outcome, []):
            module, _, name = report.nodeid.partition("::")
            if module.endswith("test_families.py") and "[" in name:
                check, _, case = name.removeprefix("test_").removesuffix("]").partition("[")
                cells[case, check] = sign
                lines[check] = report.location[1]
    if not cells:
        return
    cases, checks = sorted({case for case, _ in cells}), sorted(lines, key=lines.__getitem__)
    width = max(map(len, cases))
    terminalreporter.section("families: + holds, . does not apply, F failed, E error")
    terminalreporter.line(" ".join([" " * width, *checks]))
    for case in cases:
        marks = [cells.get((case, check), " ").center(len(check)) for check in checks]
        terminalreporter.line(" ".join([case.ljust(width), *marks]).rstrip())
