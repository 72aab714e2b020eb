"""Small tokenizers of the two kinds that GGUF keeps, trained on the text of the licence."""

import json
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

SIZE = 704
"""Rows of an embedding that holds either."""

_TEXT = (Path(__file__).parents[1] / "LICENSE").read_text("utf-8").splitlines()
_TEXT += ["Zwölf Löwen 12345 don't I'LL can't\n\n  x\t y 你好 привет 🦙"] * 5


def byte_pairs(*patterns: str) -> PreTrainedTokenizerFast:
    """Byte pairs of texts split by patterns; without one, as GPT-2 does; `digit` stands for itself."""
    spell = pre_tokenizers.ByteLevel
    steps = [
        pre_tokenizers.Digits(individual_digits=True)
        if pattern == "digit"
        else pre_tokenizers.Split(Regex(pattern), "isolated")
        for pattern in patterns
    ]
    regex = not patterns or patterns == ("digit",)
    steps.append(spell(add_prefix_space=False, use_regex=regex))
    raw = Tokenizer(BPE())
    raw.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(steps)
    raw.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    raw.train_from_iterator(
        _TEXT,
        BpeTrainer(
            vocab_size=600, initial_alphabet=spell.alphabet(), special_tokens=special, show_progress=False
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_tokens([AddedToken("<tool>", special=False)])
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    return tokenizer


@cache
def _piece_state() -> str:
    """Return SentencePiece's byte pairs of characters, as `tokenizer.json` has them."""
    raw = Tokenizer(BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"]
    raw.train_from_iterator(
        _TEXT, BpeTrainer(vocab_size=440, special_tokens=special, max_token_length=10, show_progress=False)
    )
    state = json.loads(raw.to_str())
    learnt = sorted(state["model"]["vocab"], key=state["model"]["vocab"].__getitem__)[len(special) :]
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *learnt]
    state["model"] |= {"vocab": {token: i for i, token in enumerate(tokens)}, "byte_fallback": True}
    return json.dumps(state)


def pieces() -> PreTrainedTokenizerFast:
    """Byte pairs of characters with a space in front, bytes for unknown characters, and <s> before a text."""
    raw = Tokenizer.from_str(_piece_state())
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    raw.post_processor = TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
