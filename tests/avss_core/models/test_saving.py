import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import (
    AutoTokenizer,
    GemmaTokenizer,
    GPT2Tokenizer,
    GPTNeoXTokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)

from avss_core.models.architectures import ARCHITECTURES
from avss_core.models.loading import load_tokenizer
from avss_core.models.older_keys import OLDEST, tokenizer_state
from avss_core.models.saving import save_checkpoint
from avss_core.surgery.pruning import prune

READER = Path(__file__).with_name("read_by_transformers.py")
OLDER = ("transformers==4.57.*", "tokenizers==0.22.*", "huggingface-hub<1")
TEXTS = [" a an", "an a </s> a", "A <|x|> a 12", "a\n\na  a", "Zwölf"]
PROMPT = torch.randint(0, 256, (40,), generator=torch.Generator().manual_seed(0)).tolist()
THETA = {"rope_type": "default", "rope_theta": 321.0}
ROPES: dict[str, dict[str, Any]] = {
    "llama": {"rope_type": "llama3", "rope_theta": 321.0, "factor": 8.0, "low_freq_factor": 1.0}
    | {"high_freq_factor": 4.0, "original_max_position_embeddings": 32},
    "qwen2": {"rope_type": "yarn", "rope_theta": 321.0, "factor": 4.0}
    | {"original_max_position_embeddings": 32},
    "olmo2": {"rope_type": "linear", "rope_theta": 321.0, "factor": 4.0},
    "gpt_neox": {**THETA, "partial_rotary_factor": 0.75},
    "phi": {**THETA, "partial_rotary_factor": 0.75},
    "phi3": {"rope_type": "longrope", "rope_theta": 321.0, "short_factor": [1.0, 1.5, 2.0, 2.5]}
    | {"long_factor": [1.0, 2.0, 3.0, 4.0]},
    "gemma3_text": {
        "full_attention": {"rope_type": "linear", "rope_theta": 321.0, "factor": 4.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 77.0},
    },
    "olmo3": {"full_attention": THETA, "sliding_attention": THETA},
}
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def spaced_vocab() -> dict[str, Any]:
    """Arguments of a class that writes a space as an underscore and bytes as <0x00>."""
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "▁", *map(chr, range(33, 127)), "an", "▁an"]
    tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    merges = [("a", "n"), ("▁", "an")]
    return {"vocab": {token: index for index, token in enumerate(tokens)}, "merges": merges, **SPECIAL}


def byte_vocab() -> dict[str, Any]:
    """Arguments of a class that reads bytes."""
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *SPECIAL.values(), "an", "Ġa", "Ġan", "<|x|>"]
    merges = [("a", "n"), ("Ġ", "a"), ("Ġ", "an")]
    return {"vocab": {token: index for index, token in enumerate(tokens)}, "merges": merges, **SPECIAL}


def backend(*, space: bool = False, template: str = "", **settings: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of no class of its own."""
    known = byte_vocab()
    raw = Tokenizer(BPE(vocab=known["vocab"], merges=known["merges"]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    raw.decoder = decoders.ByteLevel()
    if template:
        ends = [(token, known["vocab"][token]) for token in ("<s>", "</s>")]
        raw.post_processor = processors.TemplateProcessing(template, None, ends)
    return PreTrainedTokenizerFast(tokenizer_object=raw, **SPECIAL, **settings)


TOKENIZERS: dict[str, tuple[str, Callable[[], Any]]] = {
    "llama without a first token": ("llama", lambda: LlamaTokenizer(**spaced_vocab(), add_bos_token=False)),
    "llama with both": (
        "llama",
        lambda: LlamaTokenizer(**spaced_vocab(), add_bos_token=True, add_eos_token=True),
    ),
    "llama without the space": ("llama", lambda: LlamaTokenizer(**spaced_vocab(), add_prefix_space=False)),
    "llama with another token": (
        "llama",
        lambda: LlamaTokenizer(**spaced_vocab(), extra_special_tokens=["<|x|>"]),
    ),
    "gemma with an end token": ("gemma2", lambda: GemmaTokenizer(**spaced_vocab(), add_eos_token=True)),
    "gpt2 as it is": ("gpt2", lambda: GPT2Tokenizer(**byte_vocab())),
    "gpt2 with a space": ("gpt2", lambda: GPT2Tokenizer(**byte_vocab(), add_prefix_space=True)),
    "gpt_neox with a first token": (
        "gpt_neox",
        lambda: GPTNeoXTokenizer(**byte_vocab(), add_bos_token=True),
    ),
    "qwen2 as it is": ("qwen2", lambda: Qwen2Tokenizer(**byte_vocab())),
    "of no class": ("llama", backend),
    "of no class with a space": ("llama", lambda: backend(space=True)),
    "of no class with a template": ("mistral", lambda: backend(template="<s> <s> $A </s>")),
    "of no class with a chat": (
        "llama",
        lambda: backend(
            chat_template="{{ bos_token }}{{ messages[0].content }}",
            extra_special_tokens=["<|x|>"],
            padding_side="left",
        ),
    ),
}


def ask(folder: Path, prompt: list[int] | None) -> None:
    (folder / "asked.json").write_text(json.dumps({"prompt": prompt, "texts": TEXTS}))


@pytest.fixture(scope="module")
def written(tiny: Any, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of checkpoints: each family pruned, and tokenizers of several classes."""
    root = tmp_path_factory.mktemp("written")
    for family in ARCHITECTURES:
        settings: dict[str, Any] = {"rope_parameters": copy.deepcopy(ROPES.get(family, THETA))}
        if family == "phi3":
            settings["original_max_position_embeddings"] = 32
        save_checkpoint(prune(tiny(family, **settings), [1, 4]), tokenizer, root / family)
        ask(root / family, PROMPT)
    for name, (family, made) in TOKENIZERS.items():
        save_checkpoint(tiny(family, 1), made(), root / name)
        ask(root / name, None)
    return root


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with an older transformers; all else is this environment's."""
    target = tmp_path_factory.mktemp("older")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    once = ["--disable-pip-version-check", "--retries", "0", "--timeout", "15", "--target", str(target)]
    made = subprocess.run([*pip, *once, *OLDER], capture_output=True, text=True, check=False)
    if made.returncode:
        shutil.rmtree(target)
        pytest.skip(f"pip gives no older transformers: {made.stderr.strip().splitlines()[-1:]}")
    return target


def answers(folder: Path, packages: Path | None) -> dict[str, Any]:
    """Return what a fresh process makes of the checkpoints."""
    environment = {**os.environ, "PYTHONPATH": str(packages or ""), "OMP_NUM_THREADS": "1"}
    made = subprocess.run(
        [sys.executable, "-W", "ignore", READER, folder],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    read: dict[str, Any] = json.loads(made.stdout.splitlines()[-1])
    return read


@pytest.mark.slow
def test_an_older_version_reads_what_this_one_reads(written: Path, older: Path) -> None:
    now, then = answers(written, None), answers(written, older)
    assert then["version"].startswith(f"{OLDEST}.")
    assert not now["version"].startswith("4.")
    wrong = {}
    for name, expected in now["answers"].items():
        read = then["answers"][name]
        if read.get("tokenizer") != expected["tokenizer"]:
            wrong[name] = read.get("error", [read["tokenizer"], expected["tokenizer"]])
        elif expected["logits"] is not None:
            wanted, found = torch.tensor(expected["logits"]), torch.tensor(read["logits"])
            distance = float((found - wanted).abs().max() / wanted.abs().max())
            if distance > 1e-5:
                wrong[name] = distance
    assert not wrong
    assert len(now["answers"]) == len(ARCHITECTURES) + len(TOKENIZERS)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_comes_back_as_it_was_written(tiny: Any, tmp_path: Path, name: str) -> None:
    family, made = TOKENIZERS[name]
    tokenizer = made()
    save_checkpoint(tiny(family, 1), tokenizer, tmp_path)
    back: Any = load_tokenizer(str(tmp_path))
    assert tokenizer_state(back) == tokenizer_state(tokenizer)
    assert [back(text).input_ids for text in TEXTS] == [tokenizer(text).input_ids for text in TEXTS]
    assert (back.extra_special_tokens, back.padding_side) == (
        tokenizer.extra_special_tokens,
        tokenizer.padding_side,
    )


def test_the_class_of_the_source_stays(tmp_path: Path, tiny: Any) -> None:
    for name, kept in [("llama with both", "LlamaTokenizer"), ("gpt2 as it is", "GPT2Tokenizer")]:
        family, made = TOKENIZERS[name]
        save_checkpoint(tiny(family, 1), made(), tmp_path / name)
        settings = json.loads((tmp_path / name / "tokenizer_config.json").read_text())
        assert settings["tokenizer_class"] == kept
        assert type(AutoTokenizer.from_pretrained(tmp_path / name)).__name__ == kept
