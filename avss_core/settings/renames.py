"""Keys and words of older settings, and what they are called today."""

from collections.abc import Mapping
from typing import Any

RENAMED: Mapping[str, str] = {"score.workers": "execution.workers"}
"""Dotted names of today's keys by older ones."""

REMOVED: Mapping[str, str] = {"heal.labels": "label words weigh as heal.answers says"}
"""Keys that are read no more, and what holds instead."""

VALUES: Mapping[str, Mapping[str, str]] = {"model.device": {"auto": "spread"}}
"""Today's words by older ones, by dotted name of the key."""


def renewed(key: str, value: Any) -> tuple[str, Any, str | None]:
    """Return the key and the value as they are called today, and a line if an older word was used."""
    today = RENAMED.get(key, key)
    word = VALUES.get(today, {}).get(value, value) if isinstance(value, str) else value
    if (today, word) == (key, value):
        return key, value, None
    if today != key:
        return today, word, f"{key} is called {today} now"
    return key, word, f"{key}: {value} is called {word} now"
