"""Compare a figure, a loss, or what was asked, of two runs: the parts that all comparisons share."""

from collections.abc import Mapping, Sequence
from typing import Any

from avss_core.metrics.agreement import apart, plain_difference
from avss_core.metrics.comparison import paired_means
from tasks.report.words.evidence import TOO_FEW

Found = dict[str, Any]
Sides = tuple[Mapping[str, Any], Mapping[str, Any]]
"""The records of run A and of run B; see `tasks.report.run_record.run_record`."""


def compared(
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    *,
    lower: bool = False,
    change: Mapping[str, Any] | None = None,
    paired: int | None = None,
    void: bool = False,
    n: int | None = None,
    hollow: bool = False,
) -> Found:
    """Return a figure of both runs with its change.

    Args:
        a: value, low and high of run A.
        b: the same of run B.
        lower: whether less is better.
        change: the paired difference, where there is one.
        paired: how many pairs it is of.
        void: whether the two cannot be compared.
        n: how many questions or reviews it is of; under `TOO_FEW` nothing can be said.
        hollow: whether a change says nothing, because no answer is right; see `evidence.hollow`.
    """
    change = change or plain_difference(a, b)
    sure = apart(a, b)
    low, high = change["low"], change["high"]
    if low is not None and high is not None:
        sure = not low <= 0 <= high
    tone = "same"
    if void or change["value"] is None:
        tone = "void"
    elif n is not None and n < TOO_FEW:
        tone = "unsure"
    elif sure and hollow:
        tone = "hollow"
    elif sure:
        tone = "better" if (change["value"] < 0) == lower else "worse"
    ends = {key: [entry[key] for key in ("value", "low", "high")] for key, entry in (("a", a), ("b", b))}
    return {
        **{key: dict(zip(("value", "low", "high"), found, strict=True)) for key, found in ends.items()},
        "change": {key: change[key] for key in ("value", "low", "high")},
        "paired": paired,
        "tone": tone,
    }


def losses(a: Mapping[str, Any], b: Mapping[str, Any], reasons: Sequence[str], seed: int) -> Found:
    """Return two losses on a text, paired over its windows where it is the same."""
    windows = [side["window_means"] or [] for side in (a, b)]
    if reasons or not windows[0] or len(windows[0]) != len(windows[1]):
        return compared(a, b, lower=True, void=bool(reasons))
    change = paired_means(windows[0], windows[1], seed)
    return compared(a, b, lower=True, change=change, paired=len(windows[0]))


def text_reasons(sides: Sides, part: str, measured: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return why losses on a text cannot be compared; [] where they can."""
    found = part_reasons(sides, f"text/{part}", "texts")
    for key, what in (("tokens", "tokens"), ("window", "tokens a window"), ("stride", "tokens a stride")):
        values = [each.get(key) for each in measured]
        if values[0] != values[1]:
            found.append(f"{values[0]} and {values[1]} {what}")
    if sides[0]["model"]["name"] != sides[1]["model"]["name"]:
        found.append("the models differ, and so may their tokens")
    return found


def asked_reasons(sides: Sides, part: str, what: str, figures: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return why two models were not asked the same; [] where they were."""
    reasons = part_reasons(sides, part, what)
    counts = [each["n"] for each in figures]
    return [*reasons, f"n is {counts[0]} and {counts[1]}"] if counts[0] != counts[1] else reasons


def part_reasons(sides: Sides, name: str, what: str) -> list[str]:
    """Return why a part of the data is not the same in both runs; [] where it is."""
    if sides[0]["data"]["digest"] == sides[1]["data"]["digest"]:
        return []
    digests = [side["data"]["parts"].get(name, {}).get("digest") for side in sides]
    if None in digests:
        return [f"whether the {what} are the same is not recorded"]
    return [] if digests[0] == digests[1] else [f"the {what} are not the same"]
