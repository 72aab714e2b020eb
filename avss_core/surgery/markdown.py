"""Foreign text in Markdown: it stays in its cell and line, and none of it is markup."""

import re

_ACTIVE = re.compile(r"[\\`*\[\]<>|]")


def plain(text: str) -> str:
    """Return a text as Markdown that shows just that text, on one line."""
    return _ACTIVE.sub(lambda mark: "\\" + mark[0], " ".join(text.split()))
