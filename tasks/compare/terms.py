"""How a comparison of two runs calls things: figures with their change, reasons, and what differs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.report.words.wording import NONE, change_text, figure_text, interval_text, listed

Found = Mapping[str, Any]

KINDS = {"model": "the model", "data": "the data", "versions": "versions", "parameters": "parameters"}
"""What two runs can differ in, and how a sentence calls it."""

_SHOWN = 8
"""As many names a sentence lists."""

TONES = {
    "better": "▲ B is better",
    "worse": "▼ B is worse",
    "same": "· no certain difference",
    "unsure": "· too few to say",
    "hollow": "· no answer is right",
    "void": "! not comparable",
}
"""What a figure of both runs says, beside its numbers."""

WORDS = {**TONES, "fact": "· found"}
"""The same for a sentence, which may also tell what is the case."""


def reasons(found: Found) -> dict[str, list[str]]:
    """Return why figures cannot be compared, each reason with what it is about; {} where all can be."""
    gathered: dict[str, list[str]] = {}

    def add(name: str, why: Iterable[str]) -> None:
        for reason in why:
            names = gathered.setdefault(reason, [])
            if name not in names:
                names.append(name)

    add("costs of the scores", found["readings"]["reasons"])
    for model in found["models"].values():
        for name, entry in model["sets"].items():
            add(name, entry["reasons"])
        add("test text", model["text"]["reasons"])
        add("sentiment", model["sentiment"]["reasons"])
    return gathered


def shared_notes(found: Found) -> list[str]:
    """Return which sets are compared on a part of their questions: those that both runs asked."""
    notes = []
    for name, entry in next(iter(found["models"].values()))["sets"].items():
        if entry["shared"] and set(entry["n"]) != {entry["shared"]}:
            counts = f"{entry['n'][0]} questions in A and {entry['n'][1]} in B"
            notes.append(f"{name}: {counts}; changes are of the {entry['shared']} that both runs asked")
    return notes


def both_text(name: str, entry: Found) -> tuple[str, str]:
    """Return a figure of both runs, each with its interval."""
    texts = [
        f"{figure_text(name, side['value'])} {interval_text(name, side)}".strip()
        for side in both_sides(entry)
    ]
    return texts[0], texts[1]


def difference_text(name: str, entry: Found) -> str:
    """Return B minus A with its interval where it is paired, a dash where there is none."""
    if entry["tone"] == "void" or entry["change"]["value"] is None:
        return NONE
    return change_text(name, entry["change"]).strip()


def value_text(value: Any) -> str:
    """Return a value of a setting, of the data or of a version."""
    if value is None:
        return NONE
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def first_few(names: Sequence[str] | Found) -> str:
    """Return names, or how many there are where a sentence could not hold them."""
    found = list(names)
    return (
        listed(found) if len(found) <= _SHOWN else f"{listed(found[:_SHOWN])} and {len(found) - _SHOWN} more"
    )


def both_sides(entry: Found) -> tuple[Found, Found]:
    """Return a figure of run A and of run B."""
    return entry["a"], entry["b"]
