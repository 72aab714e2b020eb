"""Time models in turn, count their sizes, and name both for MLflow."""

from pathlib import Path

from prefect import task

from avss_core.evaluation.speed import size_of
from avss_core.evaluation.speed_records import CheckpointSize
from avss_core.jobs import model_times
from avss_core.models.loading import load_model
from tasks.records import SpeedRecord

time_models = task(name="measure-speed")(model_times.time_models)


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
