"""Time models in turn; what was timed never comes from a cache, and lies in no file that DVC compares."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from prefect import task

from avss_core.evaluation.speed import Workload, measure_speed, rate, ratio, size_of
from avss_core.models.loading import load_model
from tasks.data.downloads import fetch_weights
from tasks.progress.steps import progress


@task(name="measure-speed")
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
) -> dict[str, Any]:
    """Return tokens a second and peak memory of each model, and the ratios of the later ones to the first.

    A rate is the geometric mean over the rounds, a ratio that of the rounds' ratios, with the lowest and the
    highest round. `revision` is that of the first model.
    """
    fetch_weights(next(iter(models.values())), revision)
    workload = Workload(prompt_tokens, new_tokens, tuple(batch_sizes), rounds)
    loaders = {
        name: partial(load_model, place, revision if index == 0 else None, dtype=dtype, device=device)
        for index, (name, place) in enumerate(models.items())
    }
    with progress("speed", len(models) * (rounds + 1), "turns") as advance:
        found = measure_speed(loaders, workload, device=device, progress=advance)
    base, *others = found
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
        "models": {
            name: {
                "prefill": rate(timing.prefill),
                "decode": {str(size): rate(values) for size, values in timing.decode.items()},
                "peak_bytes": timing.peak_bytes,
                "cache_bytes": timing.cache_bytes,
            }
            for name, timing in found.items()
        },
        "base": base,
        "ratios": {
            name: {
                "prefill": ratio(found[name].prefill, found[base].prefill),
                "decode": {
                    str(size): ratio(found[name].decode[size], found[base].decode[size])
                    for size in batch_sizes
                },
            }
            for name in others
        },
    }


@task(name="measure-size")
def model_size(folder: Path, dtype: str) -> dict[str, int]:
    """Return layers, parameters and bytes of a checkpoint."""
    return size_of(load_model(str(folder), dtype=dtype), folder)


def speed_metrics(record: Mapping[str, Any]) -> dict[str, float | None]:
    """Return every time and ratio by its name in MLflow."""
    metrics: dict[str, float | None] = {}
    for name, found in record["models"].items():
        metrics[f"speed.{name}.prefill_tokens_per_second"] = found["prefill"]
        metrics[f"speed.{name}.peak_bytes"] = found["peak_bytes"]
        for size, value in found["decode"].items():
            metrics[f"speed.{name}.decode_tokens_per_second_batch_{size}"] = value
    for name, ratios in record["ratios"].items():
        metrics[f"speed.{name}.prefill_ratio"] = ratios["prefill"]["value"]
        for size, entry in ratios["decode"].items():
            metrics[f"speed.{name}.decode_ratio_batch_{size}"] = entry["value"]
    return metrics
