"""The windows that a pruned model heals on: text, and questions and reviews in the form of the evaluation."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, count
from typing import Any

from transformers import PreTrainedTokenizerBase

from avss_core.evaluation.prompts import Demonstration, chat_prompt, question_prompt
from avss_core.evaluation.sentiment import LABEL_WORDS, Review, sentiment_prompt
from avss_core.models.encoding import encode
from avss_core.training.frozen_prefix import Ids
from avss_core.training.history import WindowCounts

Piece = tuple[str, bool]
"""A piece of a text, and whether it is an answer or a label."""

Write = Callable[[Sequence[Any]], list[Piece]]
"""A function that writes some rows as one text, in pieces."""


Written = tuple[Ids, tuple[int, ...]]
"""Token ids of a window, and the positions of its answers."""

SEPARATOR = "\n\n"
"""What stands between two rows."""


@dataclass(frozen=True)
class Sources:
    """What windows are made of; no test text, question or review may be in it."""

    text: Sequence[int] = ()
    """A stream of token ids."""
    questions: Mapping[str, Sequence[Demonstration]] | None = None
    """Questions with an accepted answer, by set."""
    reviews: Sequence[Review] = ()
    own_text: Sequence[Ids] = ()
    """Windows that the dense model wrote."""


@dataclass(frozen=True)
class Shares:
    """Shares of the tokens by kind; only their ratios count."""

    text: float
    questions: float
    reviews: float
    own_text: float = 0.0

    def of(self, tokens: int) -> dict[str, int]:
        """Return the tokens of each kind.

        Raises:
            ValueError: all shares are 0.
        """
        shares: dict[str, float] = asdict(self)
        total = sum(shares.values())
        if total <= 0:
            raise ValueError("the shares of text, own text, questions and reviews are all 0: raise one")
        return {kind: round(tokens * share / total) for kind, share in shares.items()}


@dataclass(frozen=True)
class Windows:
    """Token ids of each window, and their counts by kind."""

    ids: tuple[Ids, ...]
    counts: dict[str, WindowCounts]
    answers: Mapping[Ids, tuple[int, ...]]
    """Positions of the tokens of answers and of label words, by window; not of windows without any."""


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
    """Return windows of about so many tokens: each kind exceeds its share by less than one window.

    Text is cut into consecutive windows; what the dense model wrote comes in its own. A window of questions
    holds as many rows of one set as fit, written as a few-shot prompt with its answer; the sets take turns.
    A window of reviews holds as many as fit.

    Our reading: rows come in random order and, if a share needs more than there are, again in another order,
    since other rows before a question make another window. Text does not repeat.

    Args:
        tokenizer: the tokenizer of both models.
        sources: text, questions and reviews.
        shares: shares of the kinds.
        tokens: tokens of all windows together.
        window: most tokens of a window.
        seed: seed of the order of rows.
        chat: write questions as a chat, as the evaluation then asks them.
        repeat: whether rows may come again.

    Raises:
        ValueError: all shares are 0, or a chat is asked for and the tokenizer has no template.
    """
    wanted = shares.of(tokens)
    questions = {f"questions {name}": rows for name, rows in (sources.questions or {}).items()}
    kinds: dict[str, tuple[Write, Mapping[str, Sequence[Any]]]] = {
        "questions": (lambda rows: _questions(tokenizer, rows, chat), questions),
        "reviews": (_reviews, {"reviews": sources.reviews}),
    }
    windows = {"text": text_windows(sources.text[: wanted["text"]], window)}
    if wanted["own_text"]:
        windows["own_text"] = _first(sources.own_text, wanted["own_text"])
    places: dict[Ids, tuple[int, ...]] = {}
    too_long = {"text": 0, "questions": 0, "reviews": 0}
    for kind, (write, sets) in kinds.items():
        streams = []
        for name, rows in sets.items() if wanted[kind] else ():
            fitting = [row for row in rows if len(_encoded(tokenizer, write([row]))) <= window]
            too_long[kind] += len(rows) - len(fitting)
            streams.append(_stream(tokenizer, fitting, write, window, f"{seed} {name}", repeat))
        written = _in_turn(streams, wanted[kind])
        windows[kind] = [ids for ids, _ in written]
        places |= {ids: found for ids, found in written if found}
    counts: dict[str, WindowCounts] = {
        kind: {
            "windows": len(ids),
            "tokens": sum(map(len, ids)),
            "wanted": wanted[kind],
            "too_long": too_long.get(kind, 0),
        }
        for kind, ids in windows.items()
    }
    return Windows(tuple(ids for own in windows.values() for ids in own), counts, places)


def text_windows(ids: Sequence[int], window: int) -> list[Ids]:
    """Return consecutive windows of a token stream; the last one may be shorter."""
    return [tuple(ids[start : start + window]) for start in range(0, len(ids), window)]


def _first(windows: Sequence[Ids], tokens: int) -> list[Ids]:
    """Return the first windows, so many that they hold some tokens."""
    before = accumulate((len(ids) for ids in windows), initial=0)
    return [ids for ids, held in zip(windows, before, strict=False) if held < tokens]


def _questions(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Demonstration], chat: bool) -> list[Piece]:
    """Return questions with their answers; in a chat the answer of the last one alone is a piece."""
    *shown, (question, answer) = rows
    if chat:
        return [(chat_prompt(tokenizer, shown, question), False), (answer, True)]
    return _joined([(question_prompt(question), f" {answer}") for question, answer in rows])


def _reviews(rows: Sequence[Review]) -> list[Piece]:
    """Return reviews with their label words."""
    return _joined([(sentiment_prompt(text), LABEL_WORDS[label]) for text, label in rows])


def _joined(rows: Sequence[tuple[str, str]]) -> list[Piece]:
    """Return prompts and what follows them as pieces, with a blank line between two rows."""
    pieces: list[Piece] = []
    for prompt, answer in rows:
        pieces += [(f"{SEPARATOR if pieces else ''}{prompt}", False), (answer, True)]
    return pieces


def _encoded(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[Piece]) -> Ids:
    """Return the token ids of a text."""
    return tuple(encode(tokenizer, "".join(text for text, _ in pieces)))


def _answers(tokenizer: PreTrainedTokenizerBase, pieces: Sequence[Piece], ids: Ids) -> tuple[int, ...]:
    """Return the positions of the tokens of answers.

    A piece counts where the tokens of the text up to its beginning and its end are the first ones of `ids`.
    """
    places: list[int] = []
    for number, (_, is_answer) in enumerate(pieces):
        if is_answer:
            before, through = (_encoded(tokenizer, pieces[:end]) for end in (number, number + 1))
            if ids[: len(through)] == through and through[: len(before)] == before:
                places += range(len(before), len(through))
    return tuple(places)


def _stream(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Any],
    write: Write,
    window: int,
    seed: str,
    repeat: bool,
) -> Iterator[Written]:
    """Yield windows of rows in random order; with `repeat` all rows again in another order, without end."""

    def written(held: Sequence[Any]) -> Written:
        pieces = write(held)
        ids = _encoded(tokenizer, pieces)
        return ids, _answers(tokenizer, pieces, ids)

    for turn in count() if rows and repeat else range(bool(rows)):
        order = list(rows)
        random.Random(f"{seed} {turn}").shuffle(order)
        held: list[Any] = []
        for row in order:
            if held and len(_encoded(tokenizer, write([*held, row]))) > window:
                yield written(held)
                held = []
            held.append(row)
        yield written(held)


def _in_turn(streams: Iterable[Iterator[Written]], tokens: int) -> list[Written]:
    """Return windows of each stream in turn until there are so many tokens, or no window is left."""
    windows: list[Written] = []
    waiting = deque(streams)
    while waiting and tokens > 0:
        stream = waiting.popleft()
        found = next(stream, None)
        if found is not None:
            windows.append(found)
            tokens -= len(found[0])
            waiting.append(stream)
    return windows
