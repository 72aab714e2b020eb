"""Cached units of work: Prefect tasks whose key holds the content of all that they read."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import task
from prefect.context import TaskRunContext

from avss_core.files.digests import digest_json, digest_path
from tasks.cache.fingerprints import fingerprint
from tasks.cache.stored_results import CheckedJSON, drop_broken, entry_name, storage_folder


def unit(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that makes a function of a module a cached unit.

    The unit's parameters are JSON values and paths, and it returns a small JSON value. The key holds each
    parameter, defaults included, and the fingerprint of the function's module. A path counts by the digest of
    what lies there; for a file also by its suffix and the name of its folder, which names a question set. The
    parameter `said` is the label of the progress, changes no result, and is not in the key.

    Raises:
        TypeError: the function is made inside another one; its variables would not be in the key.
    """

    def wrap(function: Callable[..., Any]) -> Any:
        if "<locals>" in function.__qualname__:
            raise TypeError(
                f"the unit {name} is made inside of a function, and that one's variables are not in its key; "
                "move it to the top of its module"
            )
        # The function's new place: pickle then sends this name to another process, not the function with all
        # that its module holds.
        function.__qualname__ += ".fn"
        # Of the code that runs now: it may be edited before the first key is made.
        fingerprint(function.__module__)
        return task(
            name=name, cache_key_fn=content_key, persist_result=True, result_serializer=CheckedJSON()
        )(function)

    return wrap


def content_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Return the cache key of a task run: from the content of its parameters and its code."""
    code = fingerprint(context.task.fn.__module__)
    content = {name: _content(value) for name, value in parameters.items() if name != "said"}
    key = entry_name(context.task.name, digest_json({"parameters": content, "code": code}), code)
    drop_broken(storage_folder() / key)
    return key


def content_digest(path: Path) -> str:
    """Return the digest of a file or folder; computed again only if the size or a time of a file changed."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stats = [(str(p), p.stat()) for p in files]
    return _digest_at(path, tuple((p, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for p, s in stats))


@functools.lru_cache(maxsize=256)
def _digest_at(path: Path, _stamps: tuple[tuple[str, int, int, int, int], ...]) -> str:
    return digest_path(path)


def _content(value: Any) -> Any:
    """Return what the key holds for a parameter."""
    if isinstance(value, Path):
        known = {"content": content_digest(value)}
        return known if value.is_dir() else known | {"of": value.parent.name, "suffix": value.suffix}
    if isinstance(value, (list, tuple)):
        return [_content(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _content(item) for key, item in value.items()}
    return value
