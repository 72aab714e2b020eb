"""Time models in turn; times never come from a cache and are in no file that DVC compares."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from prefect import task

from avss_core.data.downloads import fetch_weights
from avss_core.display.steps import progress
from avss_core.evaluation.speed import Workload, measure_speed, size_of
from avss_core.evaluation.speed_records import CheckpointSize
from avss_core.models.loading import load_model
from tasks.records import SpeedRecord


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


@task(name="measure-size")
def model_size(folder: Path, dtype: str) -> CheckpointSize:
    """Return layers, parameters and bytes of a checkpoint."""
    return size_of(load_model(str(folder), dtype=dtype), folder)


def speed_metrics(record: SpeedRecord) -> dict[str, float | None]:
    """Return every time and ratio by its name in MLflow."""
    metrics: dict[str, float | None] = {}
    for name, speed in record["models"].items():
        metrics[f"speed.{name}.prefill_tokens_per_second"] = speed["prefill"]
        metrics[f"speed.{name}.peak_bytes"] = speed["peak_bytes"]
        for size, value in speed["decode"].items():
            metrics[f"speed.{name}.decode_tokens_per_second_batch_{size}"] = value
    for name, ratios in record["ratios"].items():
        metrics[f"speed.{name}.prefill_ratio"] = ratios["prefill"]["value"]
        for size, entry in ratios["decode"].items():
            metrics[f"speed.{name}.decode_ratio_batch_{size}"] = entry["value"]
    return metrics
