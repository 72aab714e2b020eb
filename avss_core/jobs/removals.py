"""Measure removed layers by the settings of a run: what scores need to know, and what choices cost."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from avss_core.caching.kept_results import Run
from avss_core.jobs.job_records import Cost
from avss_core.jobs.removal.costs import removal_cost
from avss_core.jobs.removal.losses import removal_loss
from avss_core.jobs.removal.repaired_costs import repaired_cost
from avss_core.jobs.removal.residuals import repair_residuals
from avss_core.models.architectures import depth
from avss_core.models.loading import load_config
from avss_core.scores.choice import count_to_remove
from avss_core.scores.scores import SCORES
from avss_core.scores.traversal import greedy_order, tokens_of_repairs
from avss_core.settings.params import Params
from avss_core.surgery.repair.outlets import UnrepairableError


def removal_costs(
    params: Params, model: Path, text: Path, choices: Mapping[str, Sequence[int]], run: Run
) -> dict[str, Cost]:
    """Return the loss on held-out text after each choice, by label."""
    costs: dict[str, Cost] = _by_choice(
        run, choices, partial(removal_cost, model, text, **_held_out(params)), "cost of", "costs"
    )
    return costs


def repaired_costs(
    params: Params, model: Path, text: Path, choices: Mapping[str, Sequence[int]], run: Run
) -> tuple[dict[str, Cost], str]:
    """Return the same after a small repair of each choice; none, and why, if the model cannot be repaired.

    None, and no reason, where `score.repair_tokens` asks for no repair.
    """
    if not params.score.repair_tokens:
        return {}, ""
    job = partial(
        repaired_cost,
        model,
        text,
        repair_tokens=repair_tokens(params),
        repair_window=params.collect.window,
        batch_size=params.collect.batch_size,
        **_held_out(params),
    )
    costs = _by_choice(run, choices, job, "cost after a repair of", "costs after a repair")
    reasons = [cost["left_out"] for cost in costs.values() if "left_out" in cost]
    return ({}, reasons[0]) if reasons else (costs, "")


def _by_choice(
    run: Run, choices: Mapping[str, Sequence[int]], job: partial[Any], said: str, label: str
) -> dict[str, Any]:
    """Return the result of a unit for each choice, by its label; equal choices share one."""
    labels: dict[tuple[int, ...], list[str]] = {}
    for name, removed in choices.items():
        labels.setdefault(tuple(removed), []).append(name)
    jobs = {
        removed: partial(job, list(removed), said=f"{said} {', '.join(sharing)}")
        for removed, sharing in labels.items()
    }
    results = run(jobs, label)
    return {name: results[tuple(removed)] for name, removed in choices.items()}


def _held_out(params: Params) -> dict[str, Any]:
    """Return the text that costs are measured on, as arguments of their units: behind what was scored."""
    return {
        **params.machine,
        "skip": params.collect.tokens,
        "tokens": params.score.cost_tokens,
        "window": params.evaluate.window,
    }


def measure_removals(
    params: Params, model: Path, text: Path, scores: Iterable[str], run: Run
) -> dict[str, Any]:
    """Return what the scores need to know of removed layers, None for what no score needs.

    Returns:
        losses: one `RemovalLoss` of `avss_core.jobs.job_records` a layer; order: the layers as greedy removal
        takes them; order_windows: how many windows of the text it was measured on; repaired_order: as order,
        with a repair after each removal; residuals: one record of `avss_core.jobs.removal.residuals` a layer.

    Raises:
        UnrepairableError: a score is of repairs, and the model cannot be repaired.
    """
    needs = {SCORES[name].needs for name in scores}
    result: dict[str, Any] = {
        "losses": None, "order": None, "order_windows": None, "repaired_order": None, "residuals": None
    }  # fmt: skip
    if not needs & set(result):
        return result
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
        records: list[dict[str, Any]] = run(jobs, label, threads=True)
        windows[:] = [len(records[0]["window_means"])]
        return records

    windows: list[int] = []
    if "losses" in needs:
        result["losses"] = losses([], everything)
    options = params.prune
    free = everything[options.protect_first : layers - options.protect_last]
    count = min(count_to_remove(layers, options.ratio), len(free))
    if "order" in needs:
        result["order"] = greedy_order(
            lambda removed: {record["layer"]: record["nll"] for record in losses(removed, free)}, count, free
        )
        result["order_windows"] = windows[0] if windows else None
    if "repaired_order" in needs:
        result["repaired_order"] = greedy_order(
            lambda removed: _losses_after_repair(params, model, text, removed, free, run), count, free
        )
    if "residuals" in needs:
        job = partial(
            repair_residuals,
            model,
            text,
            **params.machine,
            tokens=removal_tokens(params),
            window=min(params.score.traversal_window, params.collect.window),
            batch_size=params.collect.batch_size,
        )
        try:
            (result["residuals"],) = run([job], "repair without each layer")
        except UnrepairableError as reason:
            raise UnrepairableError(f"{reason}; score it by avss (score.name, --score)") from None
    return result


def _losses_after_repair(
    params: Params,
    model: Path,
    text: Path,
    removed: Sequence[int],
    candidates: Sequence[int],
    run: Run,
) -> dict[int, float]:
    """Return the loss without each layer more after a small repair, on the text that is scored.

    Raises:
        ValueError: the model cannot be repaired, or no tokens are left to refit on.
    """
    fitted, predicted = tokens_of_repairs(
        params.collect.tokens, params.score.repair_tokens, removal_tokens(params)
    )
    if not fitted:
        raise ValueError("greedy_repaired needs tokens to refit on: raise score.repair_tokens")
    window = params.score.traversal_window + params.score.traversal_context
    job = partial(
        repaired_cost,
        model,
        text,
        **params.machine,
        repair_tokens=fitted,
        repair_window=params.collect.window,
        batch_size=params.collect.batch_size,
        skip=fitted,
        tokens=predicted,
        window=window,
    )
    jobs = {
        layer: partial(job, sorted([*removed, layer]), said=f"loss without layer {layer} after a repair")
        for layer in candidates
        if layer not in removed
    }
    costs = run(jobs, f"loss without each layer after a repair, {len(removed)} removed before")
    reasons = [cost["left_out"] for cost in costs.values() if "left_out" in cost]
    if reasons:
        raise ValueError(f"greedy_repaired: {reasons[0]}")
    return {layer: cost["nll"] for layer, cost in costs.items()}


def removal_tokens(params: Params) -> int:
    """Return how many tokens removals are measured on: the start of the text, before that of the costs."""
    return min(params.score.traversal_tokens, params.collect.tokens)


def repair_tokens(params: Params) -> int:
    """Return how many tokens choices are repaired on: the start of the text, before that of the costs."""
    return min(params.score.repair_tokens, params.collect.tokens)
