"""Remove layers one at a time, each a unit that may run beside others: for the scores traversal, greedy."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from avss_core.architectures import depth
from avss_core.models import load_config
from avss_core.pruning import count_to_remove
from avss_core.scores import SCORES
from avss_core.traversal import greedy_order
from flows.execution import run
from flows.params import Params
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
    layers = depth(load_config(str(model)))
    everything = range(layers)

    def losses(removed: Sequence[int], candidates: Sequence[int]) -> list[dict[str, Any]]:
        jobs = [
            partial(
                removal_loss,
                model,
                text,
                layer,
                list(removed),
                **params.machine,
                tokens=removal_tokens(params),
                window=params.score.traversal_window,
                context=params.score.traversal_context,
            )
            for layer in candidates
            if layer not in removed
        ]
        label = f"loss without each layer, {len(removed)} removed before"
        found: list[dict[str, Any]] = run(params, jobs, label, threads=True)
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
