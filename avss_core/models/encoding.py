"""A text as the token ids that a model reads, with the tokens that its tokenizer puts in front."""

from transformers import PreTrainedTokenizerBase


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return a text's token ids behind the tokens that the tokenizer puts in front of every text, once.

    A chat template may write those tokens into the text itself; then no other is added. Nothing stands behind
    the text: an end token there would close a prompt before its answer.
    """
    opening, own = opening_tokens(tokenizer), text_tokens(tokenizer, text)
    return own if own[:1] == opening[:1] else opening + own


def opening_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens that a tokenizer puts in front of every text, such as a beginning-of-text token."""
    return tokens_around(tokenizer)[0]


def tokens_around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Return the tokens that a tokenizer puts in front of every text, and those behind it."""
    own, whole = text_tokens(tokenizer, "a"), list(tokenizer("a", verbose=False).input_ids)
    places = range(len(whole) - len(own) + 1)
    start = next((place for place in places if whole[place : place + len(own)] == own), 0)
    return whole[:start], whole[start + len(own) :]


def text_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the tokens of a text alone."""
    return list(tokenizer(text, add_special_tokens=False, verbose=False).input_ids)
