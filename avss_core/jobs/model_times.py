"""Time models in turn; times never come from a cache and are in no file that DVC compares."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from avss_core.data.downloads import fetch_weights
from avss_core.display.steps import progress
from avss_core.evaluation.speed import Workload, measure_speed
from avss_core.jobs.job_records import SpeedRecord
from avss_core.models.loading import load_model
from avss_core.settings.params import Params


def time_models(
    models: Mapping[str, str],
    *,
    dtype: str,
    device: str,
    revision: str | None = None,
    prompt_tokens: int,
    new_tokens: int,
    batch_sizes: Sequence[int],
    rounds: int,
) -> SpeedRecord:
    """Return tokens a second and memory of each model, and the ratios of the later ones to the first.

    `revision` is that of the first model.
    """
    fetch_weights(next(iter(models.values())), revision)
    workload = Workload(prompt_tokens, new_tokens, tuple(batch_sizes), rounds)
    loaders = {
        name: partial(load_model, place, revision if index == 0 else None, dtype=dtype, device=device)
        for index, (name, place) in enumerate(models.items())
    }
    with progress("speed", len(models) * (rounds + 1), "turns") as advance:
        timings = measure_speed(loaders, workload, device=device, progress=advance)
    base, *others = timings
    first = timings[base]
    return {
        "workload": {
            "prompt_tokens": prompt_tokens,
            "new_tokens": new_tokens,
            "batch_sizes": list(batch_sizes),
            "rounds": rounds,
            "dtype": dtype,
            "device": device,
            "threads": torch.get_num_threads(),
        },
        "models": {name: timing.record() for name, timing in timings.items()},
        "base": base,
        "ratios": {name: timings[name].ratios(first) for name in others},
    }


def speed_settings(params: Params) -> dict[str, Any]:
    """Return what is timed, as arguments of `time_models`."""
    options = params.speed
    return {
        **params.machine,
        "prompt_tokens": options.prompt_tokens,
        "new_tokens": options.new_tokens,
        "batch_sizes": options.batch_sizes,
        "rounds": options.rounds,
    }
