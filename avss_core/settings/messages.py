"""The lines that say what is wrong with a setting, and how to write it."""

import difflib

from pydantic_core import ErrorDetails

from avss_core.settings.params import known_keys


def dotted_name(error: ErrorDetails) -> str:
    """Return the dotted name of the wrong setting."""
    return ".".join(str(part) for part in error["loc"])


def unknown_key(key: str) -> str:
    """Return the line for a key that does not exist."""
    near = difflib.get_close_matches(key, known_keys(), n=1, cutoff=0.5)
    return f"{key}: unknown key" + (f"; did you mean {near[0]}?" if near else "")


def problem_line(error: ErrorDetails, *, by_set: bool = False) -> str:
    """Return the line for a validation error of a file, or of `--set`."""
    where, value = dotted_name(error), error["input"]
    if error["type"] == "extra_forbidden":
        return unknown_key(where)
    reason = error["msg"].removeprefix("Value error, ")
    line = f"{where}: {reason}" + ("" if isinstance(value, dict) else f" (got {value!r})")
    if error["type"] == "list_type" and isinstance(value, str | int | float):
        line += f"; write --set '{where}=[{value}]'" if by_set else f"; write [{value}]"
    return line
