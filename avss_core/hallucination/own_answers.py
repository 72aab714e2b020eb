"""Choose a right and a wrong one among a model's own answers to a question."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from avss_core.judges.normalisation import normalise

COUNTS = (
    *("questions", "both_kinds", "only_right", "only_wrong", "wordless"),
    *("answers", "right", "wrong", "empty", "duplicate"),
)
"""What `choose_pair` counts: questions and answers, each of which is one of the four kinds that follow."""


@dataclass(frozen=True)
class OwnAnswer:
    """One of the model's own answers, and the judge's verdict on it."""

    text: str
    correct: bool


@dataclass(frozen=True)
class OwnPair:
    """One of the model's own answers that the judge accepted, and one that it rejected."""

    accepted: str
    rejected: str


def choose_pair(answers: Sequence[OwnAnswer], counts: Counter[str]) -> OwnPair | None:
    """Return an accepted and a rejected answer to one question; None if there are not both.

    Our reading: the first answer of each kind is taken. The greedy answer comes first, so it stands for its
    kind; the earliest draw of the other kind is a fair draw from the model's answers of that kind, which the
    most frequent or likeliest one would not be. An answer without a word is skipped, and so is one that
    repeats an earlier answer in normalised form, whatever the verdict on it.

    Args:
        answers: the greedy answer, then the draws in their order.
        counts: updated in place under the names of `COUNTS`.
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
