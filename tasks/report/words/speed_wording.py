"""What measured times say in words: ratios with their intervals, and which of them say nothing."""

from collections.abc import Mapping
from typing import Any

NOT_CERTAIN = "not certain: the machine was busy"
NOT_MEASURED = "Speed: not measured (speed.enabled)"

_WIDEST = 1.5
"""An interval whose upper end is more than so many times its lower end says too little."""


def certain(ratio: Mapping[str, float]) -> bool:
    """Tell whether the rounds agree which model is faster, and about how much.

    Example:
        >>> certain({"value": 1.35, "low": 1.30, "high": 1.43})
        True
        >>> certain({"value": 1.04, "low": 0.98, "high": 1.10})
        False
    """
    return not ratio["low"] <= 1 <= ratio["high"] and ratio["high"] <= _WIDEST * ratio["low"]


def ratio_text(ratio: Mapping[str, float], unit: str = "") -> str:
    """Return a ratio with the lowest and the highest round, and whether that is certain: one round is not.

    Example:
        >>> ratio_text({"value": 1.35, "low": 1.30, "high": 1.43}, " times")
        '1.35 times [1.30, 1.43]'
        >>> ratio_text({"value": 1.35, "low": 1.35, "high": 1.35})
        '1.35, not certain: of one round'
    """
    if ratio["low"] == ratio["high"]:
        return f"{ratio['value']:.2f}{unit}, not certain: of one round"
    text = f"{ratio['value']:.2f}{unit} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
    return text if certain(ratio) else f"{text}, {NOT_CERTAIN}"


def speed_lines(record: Mapping[str, Any]) -> list[str]:
    """Return the ratios in plain words, a line a model."""
    if not measured(record):
        return [NOT_MEASURED]
    lines = []
    for name, ratios in record["ratios"].items():
        parts = [f"prefill {ratio_text(ratios['prefill'])}"]
        parts += [f"decode (batch {size}) {ratio_text(found)}" for size, found in ratios["decode"].items()]
        lines.append(f"Speed of {name} over {record['base']}: {'; '.join(parts)}")
    return lines


def measured(record: Mapping[str, Any]) -> bool:
    """Tell whether there are times in a record of the stage speed."""
    return bool(record.get("enabled", True))
