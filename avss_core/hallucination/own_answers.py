"""Which of a model's own answers to a question stand for what it gets right and what it gets wrong."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from avss_core.judges.normalisation import normalise

COUNTS = (
    *("questions", "both_kinds", "only_right", "only_wrong", "wordless"),
    *("answers", "right", "wrong", "empty", "duplicate"),
)
"""What `choose_pair` counts. Of the questions each is one of the next four, and so is each answer."""


@dataclass(frozen=True)
class OwnAnswer:
    """An answer of the model's own, and the judge's verdict on it."""

    text: str
    correct: bool


@dataclass(frozen=True)
class OwnPair:
    """An accepted and a rejected answer of the model's own to one question."""

    accepted: str
    rejected: str


def choose_pair(answers: Sequence[OwnAnswer], counts: Counter[str]) -> OwnPair | None:
    """Return an accepted and a rejected answer to one question; None where one of the kinds is missing.

    Our reading: of each kind the first answer counts. The greedy answer comes first, so it stands for its
    kind; for the other stands the earliest draw, which is a fair draw from the model's answers of that kind,
    as the most frequent or the likeliest one would not be. An answer without a word is passed over, and so
    is one that repeats an earlier answer in normalised form, whatever the judge says of it.

    Args:
        answers: the greedy answer, then the draws in their order.
        counts: what was seen, of questions and of answers, is added here under the names of `COUNTS`.
    """
    first: dict[bool, str] = {}
    seen = {""}
    for answer in answers:
        words = normalise(answer.text)
        if words in seen:
            counts["duplicate" if words else "empty"] += 1
            continue
        seen.add(words)
        counts["right" if answer.correct else "wrong"] += 1
        first.setdefault(answer.correct, answer.text)
    kinds = {2: "both_kinds", 0: "wordless"}
    counts[kinds.get(len(first), "only_right" if True in first else "only_wrong")] += 1
    counts["questions"] += 1
    counts["answers"] += len(answers)
    return OwnPair(first[True], first[False]) if len(first) == 2 else None
