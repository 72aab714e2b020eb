"""Features of an answer and its gold answers from words that match in part.

A misspelt word, an initial, a prefix and another form of a word match in part; a word of the question has
less weight. The other features describe the texts: the number of things they list, capitals, length.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache

import numpy as np

_ALIKE = 0.6
"""Similarity above which two words match."""

_INITIAL = 0.8
"""Similarity of a single letter and a word that it begins."""

_PREFIX = 0.85
"""Similarity of a word of four letters or more and one that it begins."""

_ASKED = 0.3
"""Weight of a word of the question, against 1."""

_PARTS = re.compile(r",(?!\d)|;|/|\band\b|\bor\b|&|\n")
_LETTERS = re.compile(r"[^\W\d_]\w*")
_MARKUP = re.compile(r"[\[\]:|<>=]|\.\w")
_NEGATING = ("in", "un", "non", "anti", "im", "dis", "a", "ir", "il")
_OPPOSED = (
    ("endo", "exo"),
    ("in", "de"),
    ("hyper", "hypo"),
    ("inter", "intra"),
    ("eu", "pro"),
    ("ana", "cata"),
    ("sym", "para"),
    ("mono", "di"),
    ("pre", "post"),
    ("over", "under"),
    ("micro", "macro"),
    ("east", "west"),
    ("north", "south"),
    ("up", "down"),
    ("high", "low"),
    ("max", "min"),
)

Text = tuple[str, Sequence[str], Sequence[bool]]
"""A text, its words, and whether the question has each."""


def word_features(answer: Text, golds: Sequence[Text]) -> dict[str, float]:
    """Return the features of an answer and the best matching gold answer, zeros without a word."""
    pairs = [_pair(answer, gold) for gold in golds if answer[1] and gold[1]]
    return max(pairs, key=lambda pair: pair["near_f1"], default=dict.fromkeys(WORD_FEATURES, 0.0))


@lru_cache(maxsize=200_000)
def nearness(one: str, other: str) -> float:
    """Return the similarity of two words (0 to 1), 0 if they do not match."""
    if one == other:
        return 1.0
    if len(one) == 1 or len(other) == 1:
        return _INITIAL if one[0] == other[0] else 0.0
    if min(len(one), len(other)) >= 4 and (one.startswith(other) or other.startswith(one)):
        return _PREFIX
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    if min(matcher.real_quick_ratio(), matcher.quick_ratio()) <= _ALIKE:
        return 0.0
    ratio = matcher.ratio()
    return float(ratio) if ratio > _ALIKE else 0.0


def opposite(one: str, other: str) -> bool:
    """Return whether two words differ by a prefix that reverses the meaning: vertebrate, invertebrate."""
    short, long = sorted((one, other), key=len)
    if len(short) > 3 and any(long == prefix + short for prefix in _NEGATING):
        return True
    return any(
        a.startswith(first)
        and b.startswith(second)
        and len(a) - len(first) > 2
        and a[len(first) :] == b[len(second) :]
        for first, second in _OPPOSED
        for a, b in ((one, other), (other, one))
    )


def _pair(answer: Text, gold: Text) -> dict[str, float]:
    """Return the features of an answer and one gold answer, both with words."""
    (text_a, a, asked_a), (text_g, g, asked_g) = answer, gold
    near = np.array([[nearness(x, y) for y in g] for x in a])
    best_a, best_g = near.max(1), near.max(0)
    precision = float(np.average(best_a, weights=_weights(a, asked_a)))
    recall = float(np.average(best_g, weights=_weights(g, asked_g)))
    names_a, names_g = _capitals(text_a), _capitals(text_g)
    extra = [len(x) for x, most, asked in zip(a, best_a, asked_a, strict=True) if most < _ALIKE and not asked]
    return {
        "near_precision": precision,
        "near_recall": recall,
        "near_f1": 2 * precision * recall / max(precision + recall, 1e-9),
        "near_words_of_answer": float(best_a.mean()),
        "near_words_of_gold": float(best_g.mean()),
        "near_last": float(near[-1, -1]),
        "near_first": float(near[0, 0]),
        "near_first_last": float(near[0, -1] > _ALIKE),
        "near_not_equal": float(bool(((near > _ALIKE) & (near < 1)).any())),
        "opposite": float(any(opposite(x, y) for x in a for y in g)),
        "longest_missing": float(
            max([len(y) for y, most in zip(g, best_g, strict=True) if most < _ALIKE], default=0)
        ),
        "longest_extra": float(max(extra, default=0)),
        "parts_of_answer": float(_parts(text_a)),
        "parts_of_gold": float(_parts(text_g)),
        "parts_more": float(_parts(text_a) - _parts(text_g)),
        "capitals_of_answer": names_a,
        "capitals_of_gold": names_g,
        "capitals_differ": abs(names_a - names_g),
        "letters_of_answer": float(len(text_a)),
        "letters_of_gold": float(len(text_g)),
        "letters_ratio": float(np.log((len(text_a) + 1) / (len(text_g) + 1))),
        "digits_in_answer": float(any(letter.isdigit() for letter in text_a)),
        "digits_in_gold": float(any(letter.isdigit() for letter in text_g)),
        "markup_in_answer": float(_MARKUP.search(text_a) is not None),
    }


def _weights(words: Sequence[str], asked: Sequence[bool]) -> list[float]:
    """Return the weight of each word: its length, less if the question has it."""
    return [len(word) * (_ASKED if known else 1.0) for word, known in zip(words, asked, strict=True)]


def _parts(text: str) -> int:
    """Return the number of things that a text lists, at least 1."""
    return max(1, len([part for part in _PARTS.split(text) if part.strip()]))


def _capitals(text: str) -> float:
    """Return the share of words with a capital."""
    words = _LETTERS.findall(text)
    return len([word for word in words if word[0].isupper()]) / max(1, len(words))


WORD_FEATURES = tuple(_pair(("a", ["a"], [False]), ("a", ["a"], [False])))
"""Names of the features, in order."""
