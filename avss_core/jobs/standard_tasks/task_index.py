"""The tasks that lm-evaluation-harness and a user's folder know, found by name before any work."""

import difflib
import functools
import logging
from collections.abc import Sequence
from pathlib import Path

from lm_eval.tasks import TaskManager

from avss_core.display.steps import working


def known_tasks(names: Sequence[str], include: Path | None) -> TaskManager:
    """Return the harness's manager of tasks, which knows all the names.

    The index of the harness's own tasks takes seconds to read, and is not read where the user's folder has
    every task that is asked for.

    Args:
        names: of tasks, groups or tags.
        include: the user's folder of task files; None for none. A name in it goes before the harness's.

    Raises:
        LookupError: nobody knows one of the names; has names that are near.
    """
    # It warns of each default that a task file leaves out, and of a model that is loaded already.
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if include is not None:
        own = _manager(include, False)
        if set(names) <= set(own.all_subtasks):
            return own
    with working("reading the index of the harness's tasks"):
        manager = _manager(include, True)
    known = set(manager.all_tasks)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, manager.all_tasks, n=3)
            also = f"; did you mean {', '.join(near)}?" if near else ""
            where = f"lm-evaluation-harness and {include} have" if include else "lm-evaluation-harness has"
            raise LookupError(f"{where} no task {name!r} in a file that can be read{also}")
    return manager


@functools.lru_cache(maxsize=2)
def _manager(include: Path | None, defaults: bool) -> TaskManager:
    return TaskManager(include_path=None if include is None else str(include), include_defaults=defaults)
