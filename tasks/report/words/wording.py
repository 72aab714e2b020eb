"""Numbers, names and lists as the page and the tables write them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from avss_core.metrics.records import Entry

Figure = Literal["accuracy", "accuracy_at_50", "coverage_at_50", "ece", "brier"]

IN_PERCENT = frozenset({"accuracy", "accuracy_at_50", "coverage_at_50", "exact_match"})
NAMES: Mapping[Figure, str] = {
    "accuracy": "accuracy",
    "accuracy_at_50": "accuracy@50",
    "coverage_at_50": "coverage@50",
    "ece": "ECE",
    "brier": "Brier score",
}
"""Figures of a question set that are compared, and their names on the page."""

MORE_FIGURES = {
    "exact_match": "exact match",
    "containment": "containment",
    "brier_skill": "Brier skill",
    "auroc": "AUROC",
    "gold_nll": "gold loss",
    "preference_accuracy": "preference",
    "ece_litcab": "ECE (LitCab)",
    "accuracy_at_50_litcab": "acc@50 (LitCab)",
    "coverage_at_50_litcab": "cov@50 (LitCab)",
}
"""The other figures of a question set, and their names on the page."""

NONE = "\u2014"
MINUS = "\u2212"
SPACE = "\u00a0"


@dataclass(frozen=True)
class Verdict:
    """One finding of a run in words."""

    tone: str
    """One of `evidence.MARKS`."""
    text: str
    details: tuple[str, ...] = ()
    """The numbers behind it, a line a figure."""


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits and a true minus sign, a dash for None."""
    if value is None:
        return NONE
    text = f"{value:,.{digits}f}"
    return (text if float(text.replace(",", "")) else text.lstrip("-")).replace("-", MINUS)


def significant(value: float | None, digits: int = 4) -> str:
    """Return a number with a few significant digits, trailing zeros too, a dash for None."""
    return NONE if value is None else f"{value:#.{digits}g}".rstrip(".").replace("-", MINUS)


def figure_text(name: str, value: float | None) -> str:
    """Return a figure in the form of its kind: shares in percent, the others with three digits."""
    if value is None:
        return NONE
    return f"{number(100 * value, 1)}{SPACE}%" if name in IN_PERCENT else number(value)


def interval_text(name: str, entry: Entry) -> str:
    """Return the interval of a figure in the unit of the figure, "" without an interval."""
    if entry["low"] is None or entry["high"] is None:
        return ""
    scale, digits = (100, 1) if name in IN_PERCENT else (1, 3)
    return f"[{number(scale * entry['low'], digits)}, {number(scale * entry['high'], digits)}]"


def with_interval(name: str, entry: Entry) -> str:
    """Return a figure with its interval."""
    return f"{figure_text(name, entry['value'])} {interval_text(name, entry)}".rstrip()


def share_kept(entry: Entry, unsaid: str = "") -> str:
    """Return a share kept with its interval, or the reason why there is no interval or no share."""
    if entry["value"] is None:
        return unsaid or "nothing to keep"
    return (
        f"{figure_text('accuracy', entry['value'])}, {unsaid}" if unsaid else with_interval("accuracy", entry)
    )


def change_text(name: str, entry: Entry) -> str:
    """Return a difference with its sign and interval, shares in percentage points; a dash for None."""
    if entry["value"] is None:
        return NONE
    scale, digits, unit = (100, 1, f"{SPACE}points") if name in IN_PERCENT else (1, 3, "")
    value = number(scale * entry["value"], digits)
    sign = "+" if entry["value"] > 0 and value.strip("0.,") else ""
    return f"{sign}{value}{unit} {interval_text(name, entry)}"


def moved(name: str, before: float | None, after: float | None) -> str:
    """Return how a figure changed: fell from 60.0 % to 16.0 %."""
    texts = [figure_text(name, value) for value in (before, after)]
    if texts[0] == texts[1]:
        return f"stayed at {texts[0]}"
    verb = "went" if before is None or after is None else "rose" if after > before else "fell"
    return f"{verb} from {texts[0]} to {texts[1]}"


def listed(items: Iterable[Any]) -> str:
    """Return items with commas between them, "none" without any."""
    return ", ".join(map(str, items)) or "none"


def joined(items: Iterable[Any]) -> str:
    """Return items as a sentence lists them: nq, sciq and text."""
    words = list(map(str, items))
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def sentence(words: str) -> str:
    """Return words with a capital letter at the start."""
    return words[:1].upper() + words[1:]


def counted(count: int, word: str) -> str:
    """Return a number with its noun: 1 question, 5 questions."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def layers_text(layers: Sequence[int]) -> str:
    """Return layers in a sentence: layer 2, or layers 2, 3 and 5."""
    return f"layer{'' if len(layers) == 1 else 's'} {joined(layers)}"


def setting_text(value: Any) -> str:
    """Return a parameter's value as params.yaml shows it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return listed(value) if isinstance(value, list) else str(value)
