"""Remove layers one at a time, fanned out by the task runner: for the scores traversal and greedy."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from avss_core.architectures import depth
from avss_core.models import load_config
from avss_core.pruning import count_to_remove
from avss_core.scores import SCORES
from avss_core.traversal import greedy_order
from flows.params import Params
from tasks.progress import progress
from tasks.removal import removal_loss


def measure_removals(params: Params, model: Path, text: Path, scores: Iterable[str]) -> dict[str, Any]:
    """Return what scores need of removed layers: nothing where none of them needs it.

    Returns:
        losses: one record a layer with its number, the loss without it and the mean loss of each window, None
        where no score needs it; order: the layers in the order in which greedy removal takes them, or None.
    """
    needs = {SCORES[name].needs for name in scores}
    if not needs & {"losses", "order"}:
        return {"losses": None, "order": None}
    runner: Any = ThreadPoolTaskRunner(max_workers=params.score.workers)
    removals = _removals.with_options(task_runner=runner)
    layers = depth(load_config(str(model)))
    everything = range(layers)

    def losses(removed: Sequence[int], candidates: Sequence[int]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = removals(
            model,
            text,
            [layer for layer in candidates if layer not in removed],
            list(removed),
            dtype=params.model.dtype,
            device=params.model.device,
            tokens=removal_tokens(params),
            window=params.score.traversal_window,
            context=params.score.traversal_context,
        )
        return found

    result: dict[str, Any] = {"losses": None, "order": None}
    if "losses" in needs:
        result["losses"] = losses([], everything)
    if "order" in needs:
        options = params.prune
        free = everything[options.protect_first : layers - options.protect_last]
        result["order"] = greedy_order(
            lambda removed: {found["layer"]: found["nll"] for found in losses(removed, free)},
            min(count_to_remove(layers, options.ratio), len(free)),
            free,
        )
    return result


def removal_tokens(params: Params) -> int:
    """Return how much calibration text removals are measured on: none of that on which costs are."""
    return min(params.score.traversal_tokens, params.collect.tokens)


@flow(name="removals", persist_result=False)
def _removals(
    model: Path, text: Path, layers: Sequence[int], removed: Sequence[int], **settings: Any
) -> list[dict[str, Any]]:
    """Remove each layer on top of those already removed; each is one cached unit."""
    futures = [removal_loss.submit(model, text, layer, removed, **settings) for layer in layers]
    found = []
    with progress(f"loss without each layer, {len(removed)} removed before", len(layers)) as advance:
        for future in futures:
            found.append(future.result())
            advance(1)
    return found
