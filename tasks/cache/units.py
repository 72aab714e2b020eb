"""Cached units of work as Prefect tasks, which keep what they return under the key of its content."""

import functools
from collections.abc import Callable
from typing import Any

from prefect import Task, task
from prefect.context import TaskRunContext

from avss_core.caching.unit import Unit, prepare, unit_key
from tasks.cache.stored_results import CheckedJSON, drop_broken, storage_folder


def unit(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that makes a function of a module a cached unit, as `avss_core.caching.unit.unit`.

    Raises:
        TypeError: the function is made inside another one; its variables would not be in the key.
    """

    def wrap(function: Callable[..., Any]) -> Any:
        prepare(name, function)
        return _cached(name, function)

    return wrap


@functools.cache
def as_task(made: Unit) -> Task[..., Any]:
    """Return the Prefect task of a unit of the core."""
    return _cached(made.name, made.fn)


def _cached(name: str, function: Callable[..., Any]) -> Task[..., Any]:
    """Return the task of a function, whose results are kept."""
    made: Task[..., Any] = task(
        name=name, cache_key_fn=content_key, persist_result=True, result_serializer=CheckedJSON()
    )(function)
    return made


def content_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Return the cache key of a task run: from the content of its parameters and its code."""
    key = unit_key(context.task.name, context.task.fn.__module__, parameters)
    drop_broken(storage_folder() / key)
    return key
