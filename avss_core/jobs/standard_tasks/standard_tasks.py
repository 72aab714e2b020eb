"""Standard tasks by the settings of a run: how they are asked, and what a checkpoint makes of them."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avss_core.jobs.standard_tasks.task_records import ModelOnTasks, TaskFigures
from avss_core.settings.params import Params

if TYPE_CHECKING:
    from avss_core.jobs.standard_tasks.task_runs import Asking


def asking(params: Params, tasks: Sequence[str], include: Path | None) -> "Asking":
    """Return how tasks are asked, before any work: whether the harness is there and knows them.

    Raises:
        NotADirectoryError: there is no such folder of task files.
        ModuleNotFoundError: lm-evaluation-harness is not installed.
        LookupError: nobody knows one of the tasks.
    """
    if include is not None and not include.is_dir():
        raise NotADirectoryError(
            f"{include} is no folder: name that of your task files by --include-path or evaluate.task_files"
        )
    if find_spec("lm_eval") is None:
        raise ModuleNotFoundError(
            "standard tasks need lm-evaluation-harness, which is not installed", name="lm_eval"
        )
    from avss_core.jobs.standard_tasks.task_index import known_tasks
    from avss_core.jobs.standard_tasks.task_runs import Asking

    options = params.evaluate
    return Asking(
        manager=known_tasks(tasks, include),
        include=include,
        limit=options.limit,
        batch_size=options.batch_size,
        chat=options.chat,
        **params.machine,
    )


def ask_tasks(
    tasks: Sequence[str], model: Path, folder: Path, ask: "Asking", *, label: str, seed: int
) -> tuple[dict[str, TaskFigures], Any]:
    """Return a model's figures on tasks, and what they summarise; answers lie in a folder a task.

    Args:
        tasks: of lm-evaluation-harness, or of the user's folder.
        model: a checkpoint folder.
        folder: of its answers, from which a stopped run goes on.
        ask: how tasks are asked.
        label: of the bar.
        seed: of the intervals.
    """
    from avss_core.jobs.standard_tasks.task_runs import run_task
    from avss_core.jobs.standard_tasks.task_summaries import measured_tasks, task_figures

    measured = measured_tasks([run_task(name, model, folder, ask, label) for name in tasks])
    return task_figures(measured, seed), measured


def tasks_of_models(params: Params, models: Mapping[str, Path], folder: Path) -> dict[str, ModelOnTasks]:
    """Return what models make of the tasks of the settings, each beside the first one; none without tasks.

    Args:
        params: all of them.
        models: checkpoint folders by name, the dense one first.
        folder: of all answers, in a folder a model.
    """
    options = params.evaluate
    if not options.tasks:
        return {}
    from avss_core.jobs.standard_tasks.task_summaries import compare_tasks

    ask = asking(params, options.tasks, Path(options.task_files) if options.task_files else None)
    found: dict[str, ModelOnTasks] = {}
    base: Any = None
    for name, model in models.items():
        figures, measured = ask_tasks(options.tasks, model, folder / name, ask, label=name, seed=params.seed)
        base = base or measured
        against = None if base is measured else compare_tasks(base, measured, params.seed)
        found[name] = {"figures": figures, "against_dense": against}
    return found
