"""What a pruned model heals on: text, and questions and reviews in the form of the evaluation, in windows."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from typing import Any

from transformers import PreTrainedTokenizerBase

from avss_core.evaluation.prompts import Demonstration, chat_prompt, encode, few_shot_prompt
from avss_core.evaluation.sentiment import LABEL_WORDS, sentiment_prompt
from avss_core.training.frozen_prefix import Ids

Review = tuple[str, int]
"""A text and its label, 0 or 1."""

Write = Callable[[Sequence[Any]], str]
"""Returns some rows as one text."""


@dataclass(frozen=True)
class Sources:
    """What windows are made of; nothing of it may be what figures are measured on."""

    text: Sequence[int] = ()
    """A stream of token ids."""
    questions: Mapping[str, Sequence[Demonstration]] | None = None
    """Questions with an accepted answer, by set."""
    reviews: Sequence[Review] = ()


@dataclass(frozen=True)
class Shares:
    """How much of the tokens is of each kind; only their ratios count."""

    text: float
    questions: float
    reviews: float

    def of(self, tokens: int) -> dict[str, int]:
        """Return the tokens of each kind.

        Raises:
            ValueError: all shares are 0.
        """
        shares = {"text": self.text, "questions": self.questions, "reviews": self.reviews}
        total = sum(shares.values())
        if total <= 0:
            raise ValueError("the shares of text, questions and reviews are all 0: raise one of them")
        return {kind: round(tokens * share / total) for kind, share in shares.items()}


@dataclass(frozen=True)
class Windows:
    """Token ids of each window, and what is in them."""

    ids: tuple[Ids, ...]
    counts: Mapping[str, Mapping[str, int]]
    """Kind -> windows, tokens, wanted (tokens that were asked for) and too_long (rows that fit no window)."""


def healing_windows(
    tokenizer: PreTrainedTokenizerBase,
    sources: Sources,
    shares: Shares,
    *,
    tokens: int,
    window: int,
    seed: int,
    chat: bool = False,
    repeat: bool = True,
) -> Windows:
    """Return windows of about so many tokens: each kind's go past its share by less than one window.

    Text is cut into consecutive windows. A window of questions holds as many rows of one set as fit, written
    as a few-shot prompt with its answer, the sets in turn; one of reviews is the same of reviews.

    Our reading: rows come in random order and, where a share asks for more than there are, again in another
    order, since other rows before a question make another window. Text does not repeat.

    Args:
        tokenizer: of both models.
        sources: what there is.
        shares: of the kinds.
        tokens: all together.
        window: tokens of a window, at most.
        seed: of the order of rows.
        chat: questions as a chat, as the evaluation asks them then.
        repeat: whether rows may come again.

    Raises:
        ValueError: all shares are 0, or a chat is asked for and there is no template.
    """
    wanted = shares.of(tokens)
    rows: dict[str, dict[str, Sequence[Any]]] = {
        "questions": {f"questions {name}": given for name, given in (sources.questions or {}).items()},
        "reviews": {"reviews": sources.reviews},
    }
    writers: dict[str, Write] = {
        "questions": lambda part: _questions(tokenizer, part, chat),
        "reviews": _reviews,
    }
    found = {"text": text_windows(sources.text[: wanted["text"]], window)}
    too_long = {"text": 0}
    for kind, write in writers.items():
        streams = []
        too_long[kind] = 0
        for name, given in rows[kind].items() if wanted[kind] else ():
            fitting = [row for row in given if len(encode(tokenizer, write([row]))) <= window]
            too_long[kind] += len(given) - len(fitting)
            streams.append(_stream(tokenizer, fitting, write, window, f"{seed} {name}", repeat))
        found[kind] = _in_turn(streams, wanted[kind])
    counts = {
        kind: {
            "windows": len(ids),
            "tokens": sum(map(len, ids)),
            "wanted": wanted[kind],
            "too_long": too_long[kind],
        }
        for kind, ids in found.items()
    }
    return Windows(tuple(ids for kind in found.values() for ids in kind), counts)


def text_windows(ids: Sequence[int], window: int) -> list[Ids]:
    """Return consecutive windows of a token stream; the last one may be shorter."""
    return [tuple(ids[start : start + window]) for start in range(0, len(ids), window)]


def _questions(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Demonstration], chat: bool) -> str:
    """Return questions with their answers: the prompt of the last one, and its answer."""
    *shown, (question, answer) = rows
    if chat:
        return chat_prompt(tokenizer, shown, question) + answer
    return f"{few_shot_prompt(shown, question)} {answer}"


def _reviews(rows: Sequence[Review]) -> str:
    """Return reviews with their label words."""
    return "\n\n".join(f"{sentiment_prompt(text)}{LABEL_WORDS[label]}" for text, label in rows)


def _stream(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Any],
    write: Write,
    window: int,
    seed: str,
    repeat: bool,
) -> Iterator[Ids]:
    """Yield windows of rows that fit one each, all in random order, then in another one."""
    for turn in count() if rows and repeat else range(bool(rows)):
        order = list(rows)
        random.Random(f"{seed} {turn}").shuffle(order)
        held: list[Any] = []
        for row in order:
            if held and len(encode(tokenizer, write([*held, row]))) > window:
                yield tuple(encode(tokenizer, write(held)))
                held = []
            held.append(row)
        yield tuple(encode(tokenizer, write(held)))


def _in_turn(streams: Sequence[Iterator[Ids]], tokens: int) -> list[Ids]:
    """Return windows of each stream in turn until there are so many tokens, or no window is left."""
    found: list[Ids] = []
    held, ended = 0, 0
    for stream in cycle(streams):
        ids = next(stream, None) if held < tokens else None
        ended = 0 if ids is not None else ended + 1
        if ended == len(streams):
            break
        if ids is not None:
            found.append(ids)
            held += len(ids)
    return found
