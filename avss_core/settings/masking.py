"""Keep passwords and tokens out of what is printed, logged and recorded."""

import os
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit, urlunsplit

MASK = "***"

TRACKING = "MLFLOW_TRACKING_URI"

_SECRET_NAMES = re.compile(
    r"(^|_)(TOKEN|PASSWORD|PASSWD|SECRET|API_KEY|ACCESS_KEY(_ID)?|AUTH_STRING)(_|$)", re.ASCII | re.IGNORECASE
)
"""Names of environment variables that hold a secret, such as HF_TOKEN and AWS_SECRET_ACCESS_KEY."""

_SHORTEST = 8
"""Fewest characters of a secret: a shorter value may be any word of a text."""

_USER = re.compile(r"(?<=://)[^/\s'\"]*@")
"""User and password of an address."""

_TOKENS = re.compile(r"\b(hf_\w{20,}|gh[opsu]_\w{20,}|pn[bu]_\w{20,}|(AKIA|ASIA)[0-9A-Z]{16})\b", re.ASCII)
"""Tokens that are known by their form: of the Hub, GitHub, Prefect and AWS."""


def masked(text: str) -> str:
    """Return a text with `MASK` for secrets of the environment, users in addresses, and tokens."""
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _TOKENS.sub(MASK, _USER.sub(f"{MASK}@", text))


def tracking_uri() -> str | None:
    """Return MLFLOW_TRACKING_URI, None if it is not set.

    A user and a password in a web address move to variables of their own, which MLflow reads too: its errors
    show the address.
    """
    parts = urlsplit(address := os.environ.get(TRACKING, ""))
    if parts.scheme in {"http", "https"} and "@" in parts.netloc:
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
        address = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        os.environ[TRACKING] = address
    return address or None


def _secrets() -> Iterator[str]:
    """Yield the secrets of the environment, as they are written and as they are sent."""
    for name, value in os.environ.items():
        secrets = [value] if _SECRET_NAMES.search(name) else []
        for user in _USER.findall(value):
            password = user.removesuffix("@").partition(":")[2]
            secrets += [password, unquote(password)]
        yield from (secret for secret in secrets if len(secret) >= _SHORTEST)
