"""Numbers, years and months in a short English text, however they are written."""

import re

_WORD = re.compile(r"\w+")
_UNITS = _WORD.findall(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS = _WORD.findall("twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINAL_WORDS = _WORD.findall(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
)
_MONTH_NAMES = _WORD.findall(
    "january february march april may june july august september october november december"
)
_SMALL = {word: float(value) for value, word in enumerate(_UNITS)} | {
    word: 10.0 * value for value, word in enumerate(_TENS, start=2)
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ROMAN = {"ii": 2, "iii": 3, "iv": 4, "vi": 6, "vii": 7, "viii": 8, "ix": 9, "xi": 11, "xii": 12}
_ORDINALS = {"once": 1, "twice": 2} | _ROMAN | {word: n for n, word in enumerate(_ORDINAL_WORDS, start=1)}
_MONTHS = {word[:size]: n for n, word in enumerate(_MONTH_NAMES, start=1) for size in (3, len(word))}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)(?:st|nd|rd|th|s)?")
_TOKEN = re.compile(r"\d+(?:\.\d+)?[^\W\d_]*|[^\W\d_]+")


def numbers(text: str) -> frozenset[float]:
    """Return the numbers of a text: digits (1,200; 3.5; 21st; 1990s), words, ordinals, Roman II to XII.

    "one thousand, eight hundred and eighty-three" is one number, "three and four" are two.
    """
    values: set[float] = set()
    whole: float | None = None  # closed groups: thousands, millions
    group: float | None = None  # the group below them, still open
    for token in [*_tokens(text), ""]:
        if token in _SMALL and (group is None or _joins(group, _SMALL[token])):
            group = (group or 0.0) + _SMALL[token]
        elif token == "hundred":
            group = 100 * (1.0 if group is None else group)
        elif token in _SCALES:
            whole, group = (whole or 0.0) + _SCALES[token] * (1.0 if group is None else group), None
        elif token != "and" or (whole is None and (group is None or group % 100 != 0)):
            if whole is not None or group is not None:
                values.add(float((whole or 0) + (group or 0)))
            whole, group = None, _opens(token)
            values |= _stands_alone(token)
    return frozenset(values)


def years(values: frozenset[float]) -> frozenset[float]:
    """Return the numbers that can be a year, 1000 to 2100."""
    return frozenset(value for value in values if 1000 <= value <= 2100 and value % 1 == 0)


def months(text: str) -> frozenset[int]:
    """Return the months that a text names in full or by three letters, 1 to 12."""
    return frozenset(_MONTHS[token] for token in _tokens(text) if token in _MONTHS)


def number_features(question: str, answer: str, gold: str) -> dict[str, float]:
    """Return the features of the numbers and dates in an answer and a gold answer."""
    a, g = numbers(answer), numbers(gold)
    month_a, month_g = months(answer), months(gold)
    year_a, year_g = years(a), years(g)
    return {
        "numbers_recall": len(a & g) / max(1, len(g)),
        "numbers_precision": len(a & g) / max(1, len(a)),
        "numbers_equal": float(bool(g) and a == g),
        "numbers_differ": float(bool(a) and bool(g) and not a & g),
        "number_missing": float(bool(g) and not a),
        "numbers_of_answer": float(len(a)),
        "numbers_of_gold": float(len(g)),
        "numbers_new": float(len((a & g) - numbers(question))),
        "number_distance": min((abs(x - y) / max(1, y) for x in a for y in g), default=2.0 if g else 3.0),
        "year_shared": float(bool(year_a & year_g)),
        "years_differ": float(bool(year_a) and bool(year_g) and not year_a & year_g),
        "year_missing": float(bool(year_g) and not year_a),
        "month_shared": float(bool(month_a & month_g)),
        "months_differ": float(bool(month_a) and bool(month_g) and not month_a & month_g),
        "month_missing": float(bool(month_g) - bool(month_a)),
    }


def _tokens(text: str) -> list[str]:
    """Return the lower-case words and numbers of a text, thousands unseparated."""
    return _TOKEN.findall(re.sub(r"(?<=\d),(?=\d{3})", "", text.casefold()))


def _joins(group: float, small: float) -> bool:
    """Return whether a number word continues the group before it: "twenty one", "hundred twelve"."""
    return group > 0 and (group % 100 == 0 or (small < 10 and group % 10 == 0 and group % 100 >= 20))


def _opens(token: str) -> float | None:
    """Return the value of a word or of digits that a scale may follow: "5 million"."""
    digits = _NUMBER.fullmatch(token)
    return float(digits[1]) if digits else _SMALL.get(token)


def _stands_alone(token: str) -> set[float]:
    """Return the numbers of a token that no scale follows: "third", "II", "1920x1080"."""
    if token in _ORDINALS:
        return {float(_ORDINALS[token])}
    return set() if _NUMBER.fullmatch(token) else set(map(float, re.findall(r"\d+", token)))
