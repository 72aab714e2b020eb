"""Texts from outside in Markdown: they stay in their cell and line, and nothing of them is markup."""

import re

_ACTIVE = re.compile(r"[\\`*\[\]<>|]")


def plain(text: str) -> str:
    """Return a text as Markdown that shows just that text, on one line."""
    return _ACTIVE.sub(lambda found: "\\" + found[0], " ".join(text.split()))
