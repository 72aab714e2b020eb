"""The flows that run on a schedule (prefect.yaml): the whole pipeline, and whether the scores still hold.

Each runs the command that a person would type in a process of its own: DVC's files, the cache and the history
of MLflow see no difference, and the memory of a model is freed with the process. Heavy imports wait for a
run, since registering or starting one imports this module.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.states import Completed
from prefect.tasks import exponential_backoff
from pydantic import Field

from flows import PROJECT
from flows.running.command import run_command
from flows.running.workspace import Workspace

if TYPE_CHECKING:
    from avss_core.settings.params import Params

Retries = Annotated[int, Field(ge=0, le=20)]
Seconds = Annotated[float, Field(gt=0)]

REPRO = (sys.executable, "-m", "flows.running.repro")


@flow(name="nightly", persist_result=False)
def nightly(retries: Retries, backoff_seconds: Seconds) -> None:
    """Run what has changed of the pipeline, as `make repro` does, and publish its tables.

    Args:
        retries: further attempts; DVC goes on at the stage that failed.
        backoff_seconds: wait before the first of them; doubled each time.
    """
    from tasks.report.markdown import markdown_tables

    _persistent(retries, backoff_seconds)(REPRO, folder=PROJECT)
    place = Workspace(PROJECT)
    create_markdown_artifact(
        markdown_tables(place.scores, place.evaluation, place.healing, place.mitigation),
        key="avss-nightly",
        description="Results of the pipeline; the page is reports/index.html",
    )


@flow(name="drift", persist_result=False)
def drift(retries: Retries, backoff_seconds: Seconds) -> Any:
    """Measure the model's scores afresh, and compare them with those on record in data/scores.json.

    It reads no cache and writes nothing in the repository. Drift is logged as a warning with the layers, and
    the run ends in a completed state called Drifted.

    Args:
        retries: further attempts to measure.
        backoff_seconds: wait before the first of them; doubled each time.
    """
    from avss_core.settings.reading import load_params
    from tasks.drift import compare_scores, publish_drift

    with tempfile.TemporaryDirectory(prefix="avss-drift-") as scratch:
        fresh = Path(scratch) / "scores.json"
        _persistent(retries, backoff_seconds)(
            scoring(load_params(PROJECT / "params.yaml")),
            folder=PROJECT,
            output=fresh,
            environment={"PREFECT_LOCAL_STORAGE_PATH": str(Path(scratch) / "results")},
        )
        comparison = compare_scores(Workspace(PROJECT).scores, fresh)
    publish_drift(comparison)
    log = get_run_logger()
    if not comparison["drifted"]:
        log.info(comparison["verdict"])
        return None
    log.warning(comparison["verdict"])
    return Completed(name="Drifted", message=comparison["verdict"])


def scoring(params: "Params") -> list[str]:
    """Return the command `avss score` with all parameters."""
    settings = [
        part
        for key, value in params.flat().items()
        for part in ("--set", f"{key}={json.dumps(value, ensure_ascii=False)}")
    ]
    return [sys.executable, "-m", "avss_core.cli.app", "score", params.model.name, "--json", *settings]


def _persistent(retries: int, backoff_seconds: float) -> Any:
    """Return `run_command` with retries, after a wait that doubles."""
    return run_command.with_options(retries=retries, retry_delay_seconds=exponential_backoff(backoff_seconds))
