"""Questions with an accepted and a wrong answer, as text and as token ids."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from avss_core.hallucination.samples import answer_tokens
from avss_core.judges.normalisation import normalise
from avss_core.training.frozen_prefix import Ids


@dataclass(frozen=True)
class Pair:
    """A question with one accepted and one wrong answer; `accepted_all` guards against false negatives."""

    question: str
    accepted: str
    wrong: str
    accepted_all: tuple[str, ...] = ()


@dataclass(frozen=True)
class EncodedPair:
    """A pair as token ids; its sequences are the question with each answer, closed by a newline."""

    sequences: tuple[Ids, Ids]
    starts: tuple[int, int]
    """Where the answers start."""
    answers: tuple[str, str]
    """Normalised."""
    accepted: frozenset[str]
    """All accepted answers, normalised."""
    weight: int = 1


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], room: int | None, skipped: Counter[str]
) -> list[EncodedPair]:
    """Return the pairs that can be used as token ids, and count the others by reason."""
    found = []
    for pair in pairs:
        if not pair.accepted.strip() or not pair.wrong.strip():
            skipped["no accepted answer" if not pair.accepted.strip() else "no wrong answer"] += 1
            continue
        rows = [answer_tokens(tokenizer, pair.question, f"{text}\n") for text in (pair.accepted, pair.wrong)]
        if room is not None and max(len(ids) for ids, _ in rows) > room:
            skipped["longer than the model's context"] += 1
            continue
        (good, good_start), (bad, bad_start) = rows
        texts = (normalise(pair.accepted), normalise(pair.wrong))
        known = frozenset({texts[0], *map(normalise, pair.accepted_all)})
        found.append(EncodedPair((tuple(good), tuple(bad)), (good_start, bad_start), texts, known))
    return found
