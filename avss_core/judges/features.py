"""Features of a question, an answer and its gold answers for the fitted judge: words and numbers.

No feature is the model's confidence (the verdicts measure its calibration), its name or the set's. A gold
answer with a part in brackets is also tried without it and as that part alone, and text after the answer,
such as a next question, is cut off. Signs are left out: the judge decides by a rule on answers that differ by
a sign.
"""

import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np

from avss_core.judges.normalisation import normalise, rouge_l
from avss_core.judges.numerals import number_features
from avss_core.judges.words import Text, word_features

_bare = partial(normalise, signs=False)

_WORD = re.compile(r"\w+")
_STOP = frozenset(
    _WORD.findall(
        "a an the of in on at to for and or by with from as is are was were be been being it its this that "
        "these those he she they his her their i you we your my our do does did has have had will would can "
        "could may might there which who what when where how why s t than then also into about"
    )
)
_NEGATIONS = frozenset(_WORD.findall("no not never none nothing nobody neither nor cannot t without"))
_AUXILIARIES = frozenset(_WORD.findall("is are was were do does did can could will has have had should"))
_QUESTIONS = {
    "who": {"who", "whom", "whose"},
    "when": {"when", "year", "date"},
    "where": {"where", "country", "city", "state"},
    "how": {"how"},
    "count": {"many", "much"},
    "why": {"why"},
    "what": {"what"},
    "which": {"which"},
}
_RUN_ON = re.compile(
    r"\n|\W*\b(?:Q|A|[Uu]ser|[Qq]uestion|[Aa]nswer|ASSISTANT)\s*:"
    r"|(?<=.{3}) (?=(?:What|Who|Which|When|Where|Why|How|In which|In what) \w+ \w+)"
)
_BRACKETS = re.compile(r"\(([^()]+)\)")
_AGGREGATED = ("recall", "content_f1", "rouge_l", "trigrams", "new_recall", "new_precision", "numbers_recall")


def features(question: str, answer: str, golds: Sequence[str]) -> dict[str, float]:
    """Return the features of an answer against its best gold answer and all of them, and of the question."""
    short = clip(answer)
    pairs = [_pair(question, short, each) for gold in golds for each in variants(gold)]
    best = max(pairs, key=lambda pair: pair["content_f1"] + pair["trigrams"] + pair["f1"])
    words = set(" ".join(map(_bare, golds)).split())
    own = [word for word in _bare(short).split() if word not in _STOP]
    asked = _bare(question).split()
    return (
        best
        | {f"most_{name}": max(pair[name] for pair in pairs) for name in _AGGREGATED}
        | {f"mean_{name}": float(np.mean([pair[name] for pair in pairs])) for name in _AGGREGATED}
        | {f"asks_{name}": float(not words_of.isdisjoint(asked)) for name, words_of in _QUESTIONS.items()}
        | {
            "golds": float(len(golds)),
            "golds_negated": float(np.mean([_negated(gold) for gold in golds])),
            "words_in_any_gold": _share([word in words for word in own]),
            "cut_off": float(short != answer),
            "gold_brackets": float("(" in golds[0]),
            "question_words": float(len(asked)),
            "asks_yes_no": float(asked[:1] != [] and asked[0] in _AUXILIARIES),
        }
        | word_features(
            _words(short, asked), [_words(each, asked) for gold in golds for each in variants(gold)]
        )
    )


def clip(answer: str) -> str:
    """Return an answer without the next line, turn or question that follows it."""
    return _RUN_ON.split(answer, maxsplit=1)[0].strip() or answer


def variants(gold: str) -> list[str]:
    """Return a gold answer, the same without bracketed parts, and those parts, often other names."""
    parts = [part for part in _BRACKETS.findall(gold) if part != "disambiguation"]
    return list(dict.fromkeys([gold, *(text for text in (_BRACKETS.sub("", gold).strip(), *parts) if text)]))


def _pair(question: str, answer: str, gold: str) -> dict[str, float]:
    """Return the features of an answer and one gold answer."""
    a, g = _bare(answer), _bare(gold)
    stems_a, stems_g, asked = _stems(a), _stems(g), set(_stems(_bare(question)))
    content_a, content_g = _content(a), _content(g)
    new_a, new_g = [w for w in content_a if w not in asked], [w for w in content_g if w not in asked]
    precision, recall, f1 = _overlap(stems_a, stems_g)
    content_precision, content_recall, content_f1 = _overlap(content_a, content_g)
    new_precision, new_recall, new_f1 = _overlap(new_a, new_g)
    blocks = SequenceMatcher(None, a, g, autojunk=False).get_matching_blocks()
    longest = max(block.size for block in blocks)
    compact_a, compact_g = a.replace(" ", ""), g.replace(" ", "")
    grams = _overlap(_trigrams(a), _trigrams(g))
    return {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "content_precision": content_precision,
        "content_recall": content_recall,
        "content_f1": content_f1,
        "new_precision": new_precision,
        "new_recall": new_recall,
        "new_f1": new_f1,
        "rouge_l": rouge_l(answer, [gold], signs=False),
        "same_letters": float(compact_a == compact_g),
        "gold_in_answer": float(g != "" and f" {g} " in f" {a} "),
        "answer_in_gold": float(a != "" and f" {a} " in f" {g} "),
        "letters_inside": float(min(a, g) != "" and (compact_a in compact_g or compact_g in compact_a)),
        "characters": 2 * sum(block.size for block in blocks) / max(1, len(a) + len(g)),
        "longest_of_gold": longest / max(1, len(g)),
        "longest_of_answer": longest / max(1, len(a)),
        "trigram_precision": grams[0],
        "trigram_recall": grams[1],
        "trigrams": grams[2],
        "same_last": float(stems_a[-1:] == stems_g[-1:] != []),
        "same_first": float(stems_a[:1] == stems_g[:1] != []),
        "last_of_gold": float(not set(stems_g[-1:]).isdisjoint(stems_a)),
        "last_of_answer": float(not set(stems_a[-1:]).isdisjoint(stems_g)),
        "initials": float(_initials(a, g) or _initials(g, a)),
        "gold_length": float(len(stems_g)),
        "answer_length": float(len(stems_a)),
        "longer": float(len(stems_a) - len(stems_g)),
        "answer_new_words": float(len(new_a)),
        "gold_new_words": float(len(new_g)),
        "missing": float(len(set(new_g) - set(stems_a))),
        "extra": float(len(set(new_a) - set(stems_g))),
        "answer_from_question": _share([word in asked for word in content_a]),
        "gold_from_question": _share([word in asked for word in content_g]),
        "negation_differs": float(_negated(answer) != _negated(gold)),
        "answer_negated": float(_negated(answer)),
        "yes_against_no": float({a.split(" ")[0], g.split(" ")[0]} == {"yes", "no"}),
        "other_script": float(any(ord(letter) > 0x24F for letter in g)),
    } | number_features(question, answer, gold)


def _words(text: str, asked: Sequence[str]) -> Text:
    """Return a text, its content words (all if there are none), and whether the question has each."""
    words = _bare(text).split()
    words = [word for word in words if word not in _STOP] or words
    stems = set(map(_stem, asked))
    return text, words, [_stem(word) in stems for word in words]


def _overlap(answer: Sequence[str], gold: Sequence[str]) -> tuple[float, float, float]:
    """Return precision, recall and F1 of two bags of words, 0 if a side is empty."""
    shared = (Counter(answer) & Counter(gold)).total()
    return (
        shared / max(1, len(answer)),
        shared / max(1, len(gold)),
        2 * shared / max(1, len(answer) + len(gold)),
    )


def _trigrams(text: str) -> list[str]:
    """Return the distinct character trigrams of a text between spaces."""
    padded = f" {text} "
    return sorted({padded[start : start + 3] for start in range(len(padded) - 2)})


def _initials(short: str, long: str) -> bool:
    """Return whether a word is the initials of several words."""
    words = long.split()
    return len(words) > 1 and short == "".join(word[0] for word in words)


def _negated(text: str) -> bool:
    """Return whether a text has a negation."""
    return not _NEGATIONS.isdisjoint(_bare(text).split())


def _share(flags: Sequence[bool]) -> float:
    """Return the share of true ones, 0 without any."""
    return sum(flags) / max(1, len(flags))


def _stems(text: str) -> list[str]:
    """Return the stems of a normalised text's words."""
    return [_stem(word) for word in text.split()]


def _content(text: str) -> list[str]:
    """Return the stems of the content words."""
    return [_stem(word) for word in text.split() if word not in _STOP]


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    """Return the stem of a word by Porter's rules."""
    return str(_stemmer().stem(word))


@cache
def _stemmer() -> Any:
    """Return the stemmer; its package takes a second to import."""
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()
