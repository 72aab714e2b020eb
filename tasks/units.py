"""Cached units of work: Prefect tasks keyed by the content of what they read, so that a hit never lies."""

import functools
import importlib.metadata
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grimp
from prefect import task
from prefect.context import TaskRunContext
from prefect.settings import get_current_settings

from avss_core.digests import digest_json, digest_path

_LIBRARIES = ("torch", "transformers")
"""Libraries whose version can change a number."""


def unit(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that makes a function a cached unit.

    The unit's parameters are JSON values and paths, and it returns a small JSON value. The key holds, for
    each parameter, its value or, for a path, the digest of what lies there; a fingerprint of the code that
    the function's module imports from this project; and the versions of the numerical libraries.
    """

    def wrap(function: Callable[..., Any]) -> Any:
        # Where the function is found from here on: so pickle names it to another process, and does not try to
        # send it with all that its module holds.
        function.__qualname__ += ".fn"
        return task(name=name, cache_key_fn=content_key, persist_result=True, result_serializer="json")(
            function
        )

    return wrap


def content_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Return the cache key of a task run from the content of its parameters and its code."""
    content = {
        "parameters": {name: _content(value) for name, value in parameters.items()},
        "code": fingerprint(context.task.fn.__module__),
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
    key = f"{context.task.name}-{digest_json(content)}"
    _drop_broken(get_current_settings().results.local_storage_path / key)
    return key


def _drop_broken(entry: Path) -> None:
    """Remove a result that was cut off while it was written, so that the unit runs again."""
    if entry.is_file():
        try:
            json.loads(json.loads(entry.read_text(encoding="utf-8"))["result"])
        except (ValueError, KeyError, TypeError):
            entry.unlink(missing_ok=True)


def content_digest(path: Path) -> str:
    """Return the digest of a file or folder; computed again only where size or time of a file changed."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    stamps = tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns, p.stat().st_ino) for p in files)
    return _digest_at(path, stamps)


@functools.lru_cache(maxsize=64)
def fingerprint(module: str) -> str:
    """Return the digest of a module's source and of every project module that it imports, however deep."""
    graph = _import_graph()
    names = sorted({module} | (graph.find_upstream_modules(module) if module in graph.modules else set()))
    return digest_json([[name, _source_digest(name)] for name in names])


@functools.cache
def _import_graph() -> grimp.ImportGraph:
    """Return who imports whom in this project."""
    return grimp.build_graph("avss_core", "tasks", cache_dir=None)


def _source_digest(module: str) -> str:
    """Return the digest of a module's source file and of the data of the same name beside it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(f"the module {module} has no source file to take a fingerprint of")
    source = Path(spec.origin)
    data = source.with_suffix(".json")
    return digest_json([digest_path(source), *([digest_path(data)] if data.exists() else [])])


@functools.lru_cache(maxsize=256)
def _digest_at(path: Path, _stamps: tuple[tuple[str, int, int, int], ...]) -> str:
    return digest_path(path)


def _content(value: Any) -> Any:
    """Return what stands for a parameter in the key."""
    if isinstance(value, Path):
        return {"content": content_digest(value)}
    if isinstance(value, (list, tuple)):
        return [_content(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _content(item) for key, item in value.items()}
    return value
