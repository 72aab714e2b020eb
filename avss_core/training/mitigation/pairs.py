"""Questions with an accepted, a wrong and the model's own answer, as token ids."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from transformers import PreTrainedTokenizerBase

from avss_core.evaluation.shared_prompt import shared_prefix
from avss_core.hallucination.samples import answer_tokens
from avss_core.judges.normalisation import normalise
from avss_core.models.encoding import encode
from avss_core.training.frozen_prefix import Ids


@dataclass(frozen=True)
class Reply:
    """The model's own greedy answer to a question, asked as the evaluation asks it."""

    prompt: str
    """All that stood before the answer, demonstrations included."""
    text: str
    """The answer, with any space in front; empty if the model gave none."""
    correct: bool
    """The judge's verdict."""


@dataclass(frozen=True)
class Pair:
    """A question with an accepted and a wrong answer."""

    question: str
    accepted: str
    wrong: str
    accepted_all: tuple[str, ...] = ()
    """Further accepted answers, which another pair's answer may equal: they are not used as negatives."""
    reply: Reply | None = None


@dataclass(frozen=True)
class EncodedPair:
    """A pair as token ids; its two answers stand behind the question and are closed by a newline."""

    given: tuple[Ids, Ids]
    """The question with the accepted and with the wrong answer."""
    starts: tuple[int, int]
    """Index of each answer's first token."""
    answers: tuple[str, str]
    """Both answers, normalised."""
    accepted: frozenset[str]
    """All accepted answers, normalised."""
    reply: Ids = ()
    """The prompt and the model's own answer; empty if there is none."""
    reply_start: int = 0
    known: bool = False
    """Whether the model's own answer is right."""
    anchor: Ids = ()
    """A window of other text, on which the model is to stay as it is."""
    weight: int = 1

    @property
    def sequences(self) -> tuple[Ids, ...]:
        """All that runs through the model."""
        return tuple(ids for ids in (*self.given, self.reply, self.anchor) if ids)


def encoded_pairs(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    anchors: Sequence[Ids],
    context: int | None,
    skipped: Counter[str],
) -> list[EncodedPair]:
    """Return the usable pairs as token ids, and count the others by reason.

    Args:
        tokenizer: the model's.
        pairs: pairs with an empty answer or longer than the context are skipped.
        anchors: windows of other text, of which each pair has one, in turn.
        context: most tokens that the model takes; None for no limit.
        skipped: updated in place.
    """
    found = []
    windows = cycle(anchors or [()])
    for pair in pairs:
        if not pair.accepted.strip() or not pair.wrong.strip():
            skipped["no accepted answer" if not pair.accepted.strip() else "no wrong answer"] += 1
            continue
        rows = [answer_tokens(tokenizer, pair.question, f"{text}\n") for text in (pair.accepted, pair.wrong)]
        reply, reply_start = _reply(tokenizer, pair.reply)
        if context is not None and max(map(len, (*(ids for ids, _ in rows), reply))) > context:
            skipped["longer than the model's context"] += 1
            continue
        (good, good_start), (bad, bad_start) = rows
        texts = (normalise(pair.accepted), normalise(pair.wrong))
        found.append(
            EncodedPair(
                (tuple(good), tuple(bad)),
                (good_start, bad_start),
                texts,
                frozenset({texts[0], *map(normalise, pair.accepted_all)}),
                reply,
                reply_start,
                pair.reply is not None and pair.reply.correct,
                next(windows),
            )
        )
    return found


def _reply(tokenizer: PreTrainedTokenizerBase, reply: Reply | None) -> tuple[Ids, int]:
    """Return the token ids of a prompt with an own answer, and where the answer starts."""
    if reply is None or not reply.text.strip():
        return (), 0
    whole = encode(tokenizer, reply.prompt + reply.text)
    start = shared_prefix([encode(tokenizer, reply.prompt), whole], keep=0)
    return (tuple(whole), start) if start < len(whole) else ((), 0)
