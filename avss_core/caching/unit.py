"""Units of work: functions with a name, and a key that holds the content of all that they read."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from avss_core.caching.content import content_of
from avss_core.caching.fingerprints import fingerprint
from avss_core.files.digests import digest_json

CODE_DIGITS = 16
"""Last digits of a key: the first ones of the fingerprint of the unit's code."""


@dataclass(frozen=True)
class Unit:
    """A function of a module with a name for its results; called, it runs, and its caller may keep them."""

    name: str
    fn: Callable[..., Any]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run the function."""
        return self.fn(*arguments, **named)

    def key(self, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> str:
        """Return the name of its result for these arguments."""
        bound = inspect.signature(self.fn).bind(*arguments, **named)
        bound.apply_defaults()
        return unit_key(self.name, self.fn.__module__, bound.arguments)


def unit(name: str) -> Callable[[Callable[..., Any]], Unit]:
    """Return a decorator that makes a function of a module a unit.

    Its parameters are JSON values and paths, and it returns a small JSON value. The parameter `said` is the
    label of the progress, changes no result, and is not in the key.

    Raises:
        TypeError: the function is made inside another one; its variables would not be in the key.
    """

    def wrap(function: Callable[..., Any]) -> Unit:
        prepare(name, function)
        return Unit(name, function)

    return wrap


def prepare(name: str, function: Callable[..., Any]) -> None:
    """Give a function the name by which pickle finds it in its unit, and remember the code that runs now.

    Raises:
        TypeError: the function is made inside another one; its variables would not be in the key.
    """
    if "<locals>" in function.__qualname__:
        raise TypeError(
            f"the unit {name} is made inside of a function, and that one's variables are not in its key; "
            "move it to the top of its module"
        )
    # The function's new place: pickle then sends this name to another process, not the function with all
    # that its module holds.
    function.__qualname__ += ".fn"
    # It may be edited before the first key is made.
    fingerprint(function.__module__)


def unit_key(name: str, module: str, parameters: Mapping[str, Any]) -> str:
    """Return the name of a result: from its unit, its arguments with defaults, and its code and libraries."""
    code = fingerprint(module)
    content = {key: content_of(value) for key, value in parameters.items() if key != "said"}
    return entry_name(name, digest_json({"parameters": content, "code": code}), code)


def entry_name(name: str, content: str, code: str) -> str:
    """Return the name of a result from its unit, the digest of its key and the fingerprint of its code."""
    return f"{name}-{content[:-CODE_DIGITS]}{code[:CODE_DIGITS]}"
