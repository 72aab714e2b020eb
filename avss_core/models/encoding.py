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


def frame(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]] | None:
    """Return what an encoder's tokenizer puts before and behind every text; None for any other tokenizer.

    That of an encoder has a token for classification, one that separates, and one that masks.
    """
    if None in (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id):
        return None
    return tokens_around(tokenizer)


def encode_whole(tokenizer: PreTrainedTokenizerBase, text: str, room: int | None = None) -> list[int]:
    """Return a text as an encoder reads it: between the tokens around every text, its end cut to fit.

    Args:
        tokenizer: of an encoder.
        text: one text.
        room: tokens of all, at most; None for no limit.

    Raises:
        ValueError: the tokenizer is not an encoder's.
    """
    around = frame(tokenizer)
    if around is None:
        raise ValueError("the tokenizer has no [CLS], [SEP] and [MASK] tokens: it is not an encoder's")
    own = text_tokens(tokenizer, text)
    return [*around[0], *(own if room is None else own[: room - sum(map(len, around))]), *around[1]]
