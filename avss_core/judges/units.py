"""Units that a short answer gives to its numbers: currencies, percent and degrees.

A unit that only one side names says nothing: "5" is as good as "$5". Two different ones do: "€5" is not "$5".
"""

import re
import unicodedata
from functools import lru_cache

_DEGREE = r"(?:°|degrees?) ?"
_SYMBOLS = {
    "$": r"\$|dollars?|usd",
    "€": "€|euros?|eur",
    "£": "£|pounds?|gbp",
    "¥": "¥|yen|yuan|jpy|cny",
    "₹": "₹|rupees?|inr",
    "₽": "₽|rou?bles?|rub",
    "₩": "₩|krw",
    "¢": "¢|cents?",
    "%": "%|per ?cent",
    "‰": "‰|per mille",
    "°c": f"{_DEGREE}(?:c|celsius|centigrade)|celsius|centigrade",
    "°f": f"{_DEGREE}(?:f|fahrenheit)|fahrenheit",
    "°": "°|degrees?",
}
_SCALE = "(?: ?(?:thousand|million|billion|trillion|k|m|bn))?"
_UNITS = {
    unit: re.compile(
        rf"(?:\b|(?=[$€£¥₹₽₩¢]))(?:{name})[ -]?(?=\.?\d)|(?<=\d){_SCALE}[ -]?(?:{name})(?![^\W\d_])"
    )
    for unit, name in _SYMBOLS.items()
}
_OF_A_SCALE = {"°c", "°f"}


@lru_cache(maxsize=1 << 14)
def units(text: str) -> frozenset[str]:
    """Return the units that stand beside the numbers of a text; degrees without a scale may be of either.

    Example:
        >>> sorted(units("5 million dollars, or 4%")), sorted(units("30 °C")), sorted(units("five"))
        (['$', '%'], ['°c'], [])
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    given = {unit for unit, pattern in _UNITS.items() if pattern.search(folded)}
    if "°" not in given:
        return frozenset(given)
    return frozenset(given - {"°"} if given & _OF_A_SCALE else given | _OF_A_SCALE)


def other_units(one: str, other: str) -> bool:
    """Return whether two texts give units to their numbers and share none."""
    mine, theirs = units(one), units(other)
    return bool(mine) and bool(theirs) and mine.isdisjoint(theirs)
