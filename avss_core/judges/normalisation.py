"""Normalise short answers and compare their words with those of gold answers.

An answer without a word is wrong, and a gold answer without one never matches. A single string in place of
the sequence of gold answers raises a TypeError.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import dropwhile

from rapidfuzz.distance import LCSseq

from avss_core.judges.signs import (
    OPERATOR_CHARACTERS,
    OPERATORS,
    mark_operators,
    mark_signs,
    other_signs,
    raised,
    written,
)
from avss_core.judges.units import other_units

_ARTICLES = frozenset({"a", "an", "the"})


def normalise(text: str, *, signs: bool = True) -> str:
    """Return a text in the form in which answers are compared.

    NFKC, case folded, punctuation and symbols turned into spaces, English articles and extra spaces removed.
    Letters, digits and marks of every script stay; so do articles if there is nothing else ("A", "The The"),
    and the signs without which an answer says something else (`avss_core/judges/signs.py`).

    Source: Rajpurkar et al. 2016, arXiv 1606.05250 (SQuAD's script). Our reading: Unicode's punctuation, not
    ASCII's, and spaces in its place, so that "well-known" matches "well known"; signs stay and 1,000 is 1000.

    Args:
        text: any text.
        signs: False removes all signs, as the source does.

    Example:
        >>> normalise("The Eiffel-Tower!"), normalise("at -1,000.5 °C"), normalise("C++")
        ('eiffel tower', 'at -1000.5 c', 'c++')
    """
    words = _words(text, signs)
    kept = [word for place, word in enumerate(words) if word not in _ARTICLES or _is_operand(words, place)]
    return " ".join(kept or words)


def question_form(text: str) -> str:
    """Return the form in which questions are compared: as answers are, and all symbols in their order.

    Example:
        >>> question_form("What does & do?"), question_form("What is 5€?")
        ('what does do &', 'what is 5 €')
    """
    symbols = [
        character
        for character in unicodedata.normalize("NFKC", text)
        if unicodedata.category(character) in ("Sm", "Sc", "So") or character in "#%&@^"
    ]
    return " ".join([normalise(text), *symbols])


def exact_match(answer: str, golds: Sequence[str]) -> bool:
    """Return whether the normalised answer is one of the normalised gold answers, in no other unit.

    Example:
        >>> exact_match("The Beatles.", ["beatles", "fab four"]), exact_match("€5", ["$5"])
        (True, False)
    """
    words = normalise(answer)
    return any(normalise(gold) == words != "" and not other_units(answer, gold) for gold in _aliases(golds))


def contains(answer: str, golds: Sequence[str]) -> bool:
    """Return whether a gold answer occurs in the answer as whole tokens, both normalised.

    Spaces bound tokens: in a script that writes none between words, only a gold answer set apart is found.

    Example:
        >>> contains("It was Paris, France.", ["paris"]), contains("Parisian", ["paris"])
        (True, False)
    """
    padded = f" {normalise(answer)} "
    return any(
        (words := normalise(gold)) != "" and f" {words} " in padded and not other_units(answer, gold)
        for gold in _aliases(golds)
    )


def f1(answer: str, golds: Sequence[str]) -> float:
    """Return the F1 of the answer's tokens against the best gold answer's (0 to 1), both normalised.

    F1 = 2 * shared tokens / (tokens of the answer + tokens of the gold answer)

    Source: Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1. Our reading: 0 when either side has
    no token.

    Example:
        >>> round(f1("the red fox", ["a fox", "a dog"]), 3)  # 2 * 1 / (2 + 1)
        0.667
    """
    tokens = Counter(normalise(answer).split())
    return max((_overlap(tokens, Counter(normalise(gold).split())) for gold in _aliases(golds)), default=0.0)


def rouge_l(answer: str, golds: Sequence[str], *, signs: bool = True) -> float:
    """Return the ROUGE-L F-measure of the answer against the best gold answer (0 to 1), articles included.

    Without signs, on ASCII text equal to that of the package rouge-score, which drops all other letters.

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.
    """
    words = _words(answer, signs)
    return max((_subsequence_f(words, _words(gold, signs)) for gold in _aliases(golds)), default=0.0)


def contradicts(answer: str, golds: Sequence[str]) -> bool:
    """Return whether an answer differs from every gold answer by a sign or a unit, as "30" from "-30".

    Example:
        >>> contradicts("It is C#.", ["C++"]), contradicts("€5", ["$5"]), contradicts("C, C++", ["C"])
        (True, True, False)
    """
    words = normalise(answer).split()
    return bool(golds) and all(
        other_signs(words, normalise(gold).split()) or other_units(answer, gold) for gold in _aliases(golds)
    )


def _aliases(golds: Sequence[str]) -> Sequence[str]:
    """Return the gold answers; a string is refused, since each character would be an answer."""
    if isinstance(golds, str):
        raise TypeError(f"golds must be a sequence of strings, got the string {golds!r}: write [{golds!r}]")
    return golds


def _subsequence_f(answer: Sequence[str], gold: Sequence[str]) -> float:
    """Return the F-measure of the longest common subsequence of two texts' words, 0 if there is none."""
    shared = LCSseq.similarity(gold, answer)
    if not shared:
        return 0.0
    precision, recall = shared / len(answer), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def _overlap(answer: Counter[str], gold: Counter[str]) -> float:
    """Return the F1 of two bags of tokens, 0 when either is empty."""
    return 2 * (answer & gold).total() / max(1, answer.total() + gold.total())


@lru_cache(maxsize=1 << 14)  # the same accepted answers are compared with many answers
def _words(text: str, signs: bool) -> tuple[str, ...]:
    """Return the case-folded words of a text, articles included, with composed marks."""
    folded = unicodedata.normalize("NFKC", raised(text) if signs else text).casefold()
    # Folding and dropped format characters can leave a letter and its mark apart: compose once more.
    visible = "".join(letter for letter in folded if unicodedata.category(letter) != "Cf")
    composed = unicodedata.normalize("NFKC", visible)
    if signs:
        near = (each if each in OPERATOR_CHARACTERS else _kept(each) for each in mark_signs(composed))
        composed = mark_operators(" ".join("".join(near).split()))
    kept = "".join(map(_kept, composed))
    # NFKC turns an accent in place of an apostrophe into a space and a mark, which belongs to no word.
    words = ("".join(dropwhile(_is_mark, word)) for word in kept.split())
    return tuple(written(word) if signs else word for word in words if word)


def _is_operand(words: Sequence[str], place: int) -> bool:
    """Return whether a word stands beside an operator."""
    return not OPERATORS.isdisjoint((*words[max(0, place - 1) : place], *words[place + 1 : place + 2]))


def _kept(character: str) -> str:
    """Return letters, marks and numbers as they are, punctuation as a space."""
    category = unicodedata.category(character)
    return " " if category[0] in "PSZ" or category == "Cc" else character


def _is_mark(character: str) -> bool:
    """Return whether a character is a combining mark."""
    return unicodedata.category(character)[0] == "M"
