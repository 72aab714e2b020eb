"""Questions that an answer can be right about: an accepted one has a word, and no wrong one equals it."""

from collections.abc import Sequence
from dataclasses import dataclass

from avss_core.evaluation.splits import Row
from avss_core.judges.normalisation import normalise


@dataclass(frozen=True)
class Answerable:
    """The rows that are left, and what was left out."""

    rows: list[Row]
    wordless: int
    """Rows of which no accepted answer has a word or a number: no judge calls any answer to them right."""
    accepted_as_wrong: int
    """Wrong answers that are accepted ones of the same row in normal form; the row stays without them."""


def answerable(rows: Sequence[Row]) -> Answerable:
    """Return the rows that an answer can be right about.

    Args:
        rows: questions with `answers` and `wrong_answers`.

    Example:
        >>> rows = [{"answers": ["Ada"], "wrong_answers": ["ada.", "Bob"]}]
        >>> answerable(rows).rows
        [{'answers': ['Ada'], 'wrong_answers': ['Bob']}]
    """
    kept, among = [], 0
    for row in rows:
        accepted = set(map(normalise, row["answers"])) - {""}
        if accepted:
            wrong = [answer for answer in row["wrong_answers"] if normalise(answer) not in accepted]
            among += len(row["wrong_answers"]) - len(wrong)
            kept.append(row | {"wrong_answers": wrong})
    return Answerable(kept, len(rows) - len(kept), among)
