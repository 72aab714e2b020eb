"""A tokenizer as GGUF keeps it: tokens with their kinds, merges or scores, and the name of its splitting."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gguf import GGUFWriter, TokenType
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from avss_core.models.encoding import tokens_around

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_WORD = r"[^\r\n\p{L}\p{N}]?"
_GPT2, _DIGIT = "words of GPT-2", "single digits"

SPLITTINGS: Mapping[tuple[str, ...], str] = {
    (_GPT2,): "gpt-2",
    (_DIGIT, _GPT2): "smollm",
    (rf"{_CONTRACTIONS}|\p{{N}}|{_REST}",): "qwen2",
    (rf"{_CONTRACTIONS}|\p{{N}}{{1,3}}|{_REST}",): "llama-bpe",
    (
        rf"{_WORD}[{_UPPER}]*[{_LOWER}]+|{_WORD}[{_UPPER}]+[{_LOWER}]*|\p{{N}}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ): "tekken",
}
"""llama.cpp's name of each way to split a text before byte pairs are merged (`tokenizer.ggml.pre`)."""

_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_SPACE = "\u2581"


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer."""

    model: str
    """`gpt2` for byte pairs of bytes, `llama` for SentencePiece's of characters."""
    splitting: str
    """Name of the way a text is split before merging."""
    tokens: list[str]
    """One for each row of the embedding."""
    kinds: list[int]
    merges: list[str]
    """In their order; empty for SentencePiece."""
    scores: list[float]
    """The higher, the earlier is a token merged; empty for byte pairs of bytes."""
    special: dict[str, int]
    """Number of the token of each role, such as bos."""
    added: dict[str, bool]
    """Whether a text gets the token of a role, bos or eos."""
    space_in_front: bool
    """Whether a text gets a space in front."""
    chat_template: str | list[dict[str, str]] | None

    def write(self, writer: GGUFWriter) -> None:
        """Write all of it as metadata."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.splitting)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.kinds)
        if self.scores:
            writer.add_token_scores(self.scores)
        if self.merges:
            writer.add_token_merges(self.merges)
        for role, number in self.special.items():
            getattr(writer, f"add_{role}_token_id")(number)
        for role, is_added in self.added.items():
            getattr(writer, f"add_add_{role}_token")(is_added)
        writer.add_add_space_prefix(self.space_in_front)
        if self.chat_template is not None:
            writer.add_chat_template(self.chat_template)


def vocabulary(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> Vocabulary:
    """Return a tokenizer as GGUF keeps it.

    SentencePiece's scores are not part of `tokenizer.json`; what they decide, which pair is merged first,
    its merges say: the score of a token is minus the place of its first merge.

    Args:
        tokenizer: gives no token that the model does not embed.
        config: of the model; names special tokens that the tokenizer does not.

    Raises:
        ValueError: the tokenizer is not of a kind that llama.cpp is known to repeat.
    """
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    state = json.loads(backend.to_str()) if backend is not None else {}
    model = state.get("model", {})
    if model.get("type") != "BPE" or not model["merges"]:
        kind = model.get("type", type(tokenizer).__name__)
        raise ValueError(_refusal(f"it is a {kind} without merges, and only byte pairs are written"))
    pieces = bool(model.get("byte_fallback"))
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    tokens, kinds = _tokens(tokenizer, state, config.vocab_size)
    before, behind = tokens_around(tokenizer)
    special = _special(tokenizer, config)
    return Vocabulary(
        model="llama" if pieces else "gpt2",
        splitting="default" if pieces else _splitting(state),
        tokens=tokens,
        kinds=kinds,
        merges=[] if pieces else [" ".join(_visible(part) for part in pair) for pair in merges],
        scores=_scores(tokens, kinds, merges) if pieces else [],
        special=special,
        added={"bos": before[:1] == [special.get("bos")], "eos": behind[-1:] == [special.get("eos")]},
        space_in_front=pieces and backend.encode("a", add_special_tokens=False).tokens[0].startswith(_SPACE),
        chat_template=_chat_template(tokenizer),
    )


def _tokens(
    tokenizer: PreTrainedTokenizerBase, state: Mapping[str, Any], size: int
) -> tuple[list[str], list[int]]:
    """Return the text and the kind of every row of the embedding; rows without a token are unused."""
    texts = [f"[PAD{number}]" for number in range(size)]
    kinds = [int(TokenType.UNUSED)] * size
    has_bytes = bool(state["model"].get("byte_fallback"))
    for token, number in tokenizer.get_vocab().items():
        texts[number], kinds[number] = token, int(TokenType.NORMAL)
        if has_bytes and len(token) == 6 and token.startswith("<0x"):
            kinds[number] = int(TokenType.BYTE)
    for token in state["added_tokens"]:
        text, number = token["content"], token["id"]
        if token["special"] or _looks_special(text):
            kinds[number] = int(TokenType.CONTROL)
        else:
            # llama.cpp looks for it in the text as it stands.
            texts[number], kinds[number] = text.replace(_SPACE, " "), int(TokenType.USER_DEFINED)
    return texts, kinds


def _looks_special(text: str) -> bool:
    """Tell whether a token that is not marked as special looks like one; the forms are llama.cpp's."""
    return (
        (text.startswith("<|") and text.endswith("|>"))
        or text in {"<pad>", "<mask>", "<2mass>", "[@BOS@]"}
        or (text.startswith("<unused") and text.endswith(">"))
    )


def _scores(tokens: Sequence[str], kinds: Sequence[int], merges: Sequence[Sequence[str]]) -> list[float]:
    """Return minus the place of the first merge that makes each token; those that none makes come last."""
    place: dict[str, int] = {}
    for first, second in merges:
        place.setdefault(first + second, len(place))
    # Nothing is merged into these; the numbers are those of llama.cpp's converter.
    fixed = {
        int(TokenType.BYTE): 0.0,
        int(TokenType.CONTROL): -1000.0,
        int(TokenType.USER_DEFINED): -1000.0,
    }
    return [
        fixed[kind] if kind in fixed else -float(place.get(token, len(place)))
        for token, kind in zip(tokens, kinds, strict=True)
    ]


def _special(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> dict[str, int]:
    """Return the number of the token of each role that there is."""
    numbers = {}
    for role in _ROLES:
        number = getattr(tokenizer, f"{role}_token_id", None)
        number = getattr(config, f"{role}_token_id", None) if number is None else number
        number = number[0] if isinstance(number, list) else number
        if isinstance(number, int) and 0 <= number < config.vocab_size:
            numbers[role] = number
    return numbers


def _splitting(state: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of the way in which a text is split."""
    normalizer = state.get("normalizer") or {}
    steps = _steps(state.get("pre_tokenizer") or {})
    name = SPLITTINGS.get(tuple(steps))
    if name is None or normalizer.get("type", "NFC") != "NFC":
        kind = normalizer.get("type", "no normalizer")
        raise ValueError(
            _refusal(f"its pre_tokenizer (in tokenizer.json) splits by {steps}, {kind}, which is not known")
        )
    return name


def _steps(part: Mapping[str, Any]) -> list[str]:
    """Return the steps of a pre-tokenizer, each in words or as its pattern; spelling bytes is none."""
    match part:
        case {"type": "Sequence", "pretokenizers": list(parts)}:
            return [step for each in parts for step in _steps(each)]
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": bool(splits)}:
            return [_GPT2] if splits else []
        case {"type": "Digits", "individual_digits": True}:
            return [_DIGIT]
        case {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated", "invert": False}:
            return [pattern]
        case {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Removed", "invert": True}:
            return [pattern]
    return [str(part.get("type", "nothing"))]


def _visible(part: str) -> str:
    """Return a part of a merge without spaces, which part the two: as bytes are spelt, a space is U+0120."""
    return part.replace(" ", "\u0120")


def _chat_template(tokenizer: PreTrainedTokenizerBase) -> str | list[dict[str, str]] | None:
    """Return the template of a chat, or several by name."""
    template: Any = tokenizer.chat_template
    if isinstance(template, dict):
        return [{"name": name, "template": text} for name, text in template.items()]
    return template or None


def _refusal(why: str) -> str:
    """Return the message for a tokenizer that cannot be written."""
    return (
        f"the tokenizer cannot be written as GGUF: {why}. convert_hf_to_gguf.py of llama.cpp knows more, "
        "by the model that a tokenizer comes from"
    )
