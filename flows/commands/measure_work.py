"""What `avss evaluate` and `speed` run: the tasks of the stages, for given models."""

from collections.abc import Sequence
from typing import Any

from prefect import flow

from flows.evaluate import evaluate_checkpoint
from flows.prepare import prepare_rows
from flows.running.scratch import checkpoint, scratch
from flows.running.server import served
from flows.settings.params import Params
from flows.speed import timed


@served
@flow(name="evaluate-model", persist_result=False)
def evaluate_model(params: Params) -> dict[str, Any]:
    """Return the figures of one model on the question sets, text and reviews."""
    with scratch() as workspace:
        prepare_rows(params, workspace)
        figures, _ = evaluate_checkpoint(params, workspace.prepared, checkpoint(params, workspace))
    return {"model": params.model.name, **figures}


@served
@flow(name="speed-of-models", persist_result=False)
def speed_of(params: Params, models: Sequence[str]) -> dict[str, Any]:
    """Return tokens a second and peak memory of models, with the ratios to the first."""
    return timed(params, {name: name for name in dict.fromkeys(models)}, params.model.revision)
