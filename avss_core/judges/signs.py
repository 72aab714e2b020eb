"""Signs that change what a short answer says: minus, decimal point, operators and the signs of names.

A sign counts by where it stands: the minus of "-5" but not the hyphens of "well-known" and "1990-1995", the
point of "0.5" but not those of "J. R. R.", "+" and "<" between two things, a power ("10^2", "10²") and the
charge of an ion ("Na+", "Cl-"). Signs of units and currencies do not: "5%" and "$5" are as good as "5".
"""

import re
from collections.abc import Callable, Collection, Sequence

OPERATORS = frozenset({"<", ">", "<=", ">=", "!=", "+", "*", "±"})
"""The signs that are words of their own."""

OPERATOR_CHARACTERS = frozenset("<>=!+*±√¬")
"""What `mark_operators` reads."""

_MARKS = {sign: chr(0xE000 + place) for place, sign in enumerate("-.+#/^√¬♭<>=!*±")}
"""A character of the private use area for each sign, so that it outlives the removal of punctuation."""

_MARK = "[\ue000-\ue00e]"
_TO_MARKS, _TO_SIGNS = str.maketrans(_MARKS), str.maketrans({mark: sign for sign, mark in _MARKS.items()})
_ONE_FORM = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{HYPHEN}": "-",
        "\N{FRACTION SLASH}": "/",
        "\N{DIVISION SIGN}": "/",
        "\N{MULTIPLICATION SIGN}": "*",
        "\N{LESS-THAN OR EQUAL TO}": "<=",
        "\N{GREATER-THAN OR EQUAL TO}": ">=",
        "\N{NOT EQUAL TO}": "!=",
        "\N{MUSIC SHARP SIGN}": "#",
    }
)
_OF_NAMES = re.compile("[-.+#/^√¬♭]")
_RAISED, _PLAIN = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-"
_POWER = re.compile(rf"(?<=[0-9])[{_RAISED[-1]}]?[{_RAISED[:-1]}]+(?![⁺⁻])|(?<=[^\W\d_])⁻[{_RAISED[:-1]}]+")
_PART = re.compile("(?<=[0-9])(?=[¼-¾⅐-⅞])")

Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]
"""Patterns and what replaces a match."""


def _mark(match: re.Match[str]) -> str:
    """Return a sign, and what it stands with, with marks for signs."""
    return re.sub("[ (]", "", match[0]).translate(_TO_MARKS)


def _own_word(match: re.Match[str]) -> str:
    """Return an operator as a word of its own."""
    return f" {_mark(match)} "


def _decimal(match: re.Match[str]) -> str:
    """Return a decimal number, a whole one without its zeros."""
    whole, part = match[0].split(".")
    return f"{whole or '0'}{_MARKS['.']}{part}" if part.strip("0") else whole or "0"


_CLOSE: Rules = (
    (r"</?([a-z][a-z0-9]*) ?/?>", r" \1 "),  # a tag compares nothing
    ("[-=]+>", " "),  # nor does an arrow
    (r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!,?\d)", lambda match: match[0].replace(",", "")),
    (r"(?<![\d.])\d+\.\d+(?!\.?\d)", _decimal),
    (r"(?<![\w.)])\.\d+(?!\.?\d)", _decimal),
    (r"(?<![\d/])\d{1,3} ?/ ?\d+(?![\d/])|(?<![\w/])[a-z] ?/ ?[a-z](?![\w/])", _mark),
    (r"\b(?:minus|negative) (?=[$€£¥]?\d)", "-"),
    (r"(?<![^\W_])-([$€£¥])(?=\d)", r"\1-"),
    (r"(?<![^\W_])(?<![-)\]}%°.!?])-(?=\d)", _mark),
    (rf"(?<=[^\W\d_])(?:\+\+|\+(?![\w(√¬-]|{_MARK})|#|♭)", _mark),
    (r"(?<!\w)(?:[a-z]|ab|cl|br|oh|cn|[a-z]{1,4}\d{1,2})-(?![-\w]| (?:and|or|to)\b)", _mark),
    (r"(?<!\w)[a-z]{1,4}\d{1,2}\+(?![\w(√¬-])", _mark),
    (r"(?<=[^\W\d_])\^(?=\d)", ""),  # x^2 is also written x2
    (rf"(?<=[^\W_])\^\(*(?=[^\W_]|{_MARK})", _mark),
)
"""Signs that belong to the word that they touch."""

_LEFT, _RIGHT = rf"(?:(?<=[^\W_])|(?<={_MARK}))", rf"(?=[^\W_]|{_MARK})"
_BETWEEN: Rules = (
    (rf"[√¬] ?{_RIGHT}", _mark),
    (rf"{_LEFT} ?(?:[<>]=?|!=|\+|±) ?{_RIGHT}", _own_word),
    (rf"(?:[<>]=?|±) ?(?={_MARK}?\d)", _own_word),
    (r"(?:(?<=\b[a-z])|(?<=\d)) ?(?<!\*)\*(?!\*) ?(?=\d|[a-z]\b)", _own_word),
)
"""Operators, which stand between or before words."""


def raised(text: str) -> str:
    """Return a text with powers of numbers written as "10^2", and a fraction apart from its whole.

    NFKC would make "102" of "10²", and "21/2" of "2½".
    """
    text = _POWER.sub(lambda match: "^" + match[0].translate(str.maketrans(_RAISED, _PLAIN)), text)
    return _PART.sub(" ", text)


def mark_signs(text: str) -> str:
    """Return a text with marks for the signs that touch a word, and thousands unseparated.

    Args:
        text: case folded, in NFKC.
    """
    return _replaced(text.translate(_ONE_FORM), _CLOSE)


def mark_operators(text: str) -> str:
    """Return a text with marks for the operators that stand between words or before a number.

    Args:
        text: of `mark_signs`, without other punctuation, one space between words.
    """
    return _replaced(text, _BETWEEN)


def written(text: str) -> str:
    """Return a text with its marks as signs."""
    return text.translate(_TO_SIGNS)


def other_signs(answer: Collection[str], gold: Collection[str]) -> bool:
    """Return whether words differ by signs: one side has "-5", "1/5" or "<" where the other has "5" or ">".

    Args:
        answer: words of a normalised answer.
        gold: words of a normalised gold answer.
    """
    extra, missing = set(answer) - set(gold), set(gold) - set(answer)
    if extra & OPERATORS and missing & OPERATORS:
        return True
    if not _bare(extra).isdisjoint(_bare(missing)):
        return True
    return any(
        one and one <= {part for word in other for part in _parts(word)}
        for one, other in ((missing, extra), (extra, missing))
    )


def _bare(words: Collection[str]) -> set[str]:
    """Return words without the signs that touch them."""
    return {_OF_NAMES.sub("", word) for word in words if word not in OPERATORS}


def _parts(word: str) -> list[str]:
    """Return both sides of a fraction or a power, nothing of another word."""
    parts = re.split("[/^]", word)
    return parts if len(parts) > 1 else []


def _replaced(text: str, rules: Rules) -> str:
    """Return a text with each rule applied in turn."""
    for pattern, replacement in rules:
        text = re.sub(pattern, replacement, text)
    return text
