"""Measured times in words: ratios with their intervals, and which of them are certain."""

from collections.abc import Mapping
from typing import Any

from avss_core.evaluation.speed_records import SpeedRatio

NOT_CERTAIN = "not certain: the machine was busy"
NOT_MEASURED = "Speed: not measured (speed.enabled)"

_WIDEST = 1.5
"""Largest ratio of the ends of an interval that still says something."""


def certain(ratio: SpeedRatio) -> bool:
    """Tell whether the rounds agree which model is faster, and about how much.

    Example:
        >>> certain({"value": 1.35, "low": 1.30, "high": 1.43})
        True
        >>> certain({"value": 1.04, "low": 0.98, "high": 1.10})
        False
    """
    return not ratio["low"] <= 1 <= ratio["high"] and ratio["high"] <= _WIDEST * ratio["low"]


def ratio_text(ratio: SpeedRatio, unit: str = "") -> str:
    """Return a ratio with its lowest and highest round, and a warning if it is not certain.

    Example:
        >>> ratio_text({"value": 1.35, "low": 1.30, "high": 1.43}, " times")
        '1.35 times [1.30, 1.43]'
        >>> ratio_text({"value": 1.35, "low": 1.35, "high": 1.35})
        '1.35, not certain: one round'
    """
    if ratio["low"] == ratio["high"]:
        return f"{ratio['value']:.2f}{unit}, not certain: one round"
    text = f"{ratio['value']:.2f}{unit} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
    return text if certain(ratio) else f"{text}, {NOT_CERTAIN}"


def speed_lines(record: Mapping[str, Any]) -> list[str]:
    """Return the ratios in words, a line a model."""
    if not measured(record):
        return [NOT_MEASURED]
    lines = []
    for name, ratios in record["ratios"].items():
        parts = [f"prefill {ratio_text(ratios['prefill'])}"]
        parts += [f"decode (batch {size}) {ratio_text(ratio)}" for size, ratio in ratios["decode"].items()]
        lines.append(f"Speed of {name} over {record['base']}: {'; '.join(parts)}")
    return lines


def measured(record: Mapping[str, Any]) -> bool:
    """Tell whether a record of the stage speed holds times; one that is switched off has no other field."""
    return bool(record.get("enabled", True))
