"""Where runs are kept: the home's own SQLite file, or what MLFLOW_TRACKING_URI names."""

import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Experiment, LifecycleStage, ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from avss_core.settings.masking import tracking_uri
from tasks.history.databases import database_url, is_damaged, move_artifacts, sqlite_file

EXPERIMENT = "avss"
WAIT_SECONDS = 10.0
"""Time that a server has to answer."""

_DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")


def store_lock(home: Path) -> FileLock:
    """Return the lock for what only one process of a home may make."""
    home.mkdir(parents=True, exist_ok=True)
    return FileLock(home / ".mlflow.lock")


def has_store(home: Path) -> bool:
    """Tell whether there may be runs already."""
    return (home / "mlflow.db").is_file() or tracking_uri() is not None


def open_store(home: Path) -> tuple[MlflowClient, str]:
    """Return a client and the id of the experiment; database and experiment are made under a lock if missing.

    Artifacts of the home's own database move along with the home.

    Raises:
        ConnectionError: MLFLOW_TRACKING_URI names a server or a database that does not answer.
        OSError: the SQLite file is damaged.
        ValueError: MLFLOW_TRACKING_URI names neither, or the experiment was deleted.
    """
    home = home.resolve()
    file = home / "mlflow.db"
    uri = tracking_uri() or database_url(file)
    own = sqlite_file(uri) == file
    if uri.startswith(("http://", "https://")):
        _check_server(uri)
    elif not uri.startswith(_DATABASES):
        raise ValueError(
            f"MLFLOW_TRACKING_URI={uri}: the history is kept by a server (http://...) or in a database "
            "(sqlite:////data/history.db, postgresql://...); name one of these, or unset the variable to "
            "keep it in mlflow.db"
        )
    # MLflow migrates a fresh SQLite file on first use, and two processes at once would break it.
    with store_lock(home):
        if own and is_damaged(file):
            raise OSError(
                f"{file}, the history of experiments, is damaged: put a copy of it in its "
                "place, or move it away to begin a new one"
            )
        place = (home / "mlartifacts").as_uri()
        if own:
            move_artifacts(file, EXPERIMENT, place)
        try:
            client = MlflowClient(uri)
            experiment = client.get_experiment_by_name(EXPERIMENT)
        except (MlflowException, SQLAlchemyError, ImportError) as error:
            reason = str(error).splitlines()[0]
            raise ConnectionError(
                f"the history at MLFLOW_TRACKING_URI={uri} cannot be opened ({reason}); make it reachable, "
                "or unset the variable to keep the history in mlflow.db"
            ) from error
        if experiment is not None:
            _refuse_deleted(experiment, uri)
            return client, experiment.experiment_id
        # A server keeps figures and tables itself; with a database they would go to ./mlruns.
        location = place if uri.startswith(_DATABASES) else None
        return client, client.create_experiment(EXPERIMENT, artifact_location=location)


def check_store(home: Path) -> None:
    """Refuse a history that cannot be written to, before any work; one that does not exist yet is not made.

    Raises:
        ConnectionError: MLFLOW_TRACKING_URI names a server or a database that does not answer.
        OSError: the SQLite file is damaged.
        ValueError: MLFLOW_TRACKING_URI names neither, or the experiment was deleted.
    """
    if has_store(home):
        open_store(home)


def search(client: MlflowClient, experiment: str, where: str) -> Sequence[Any]:
    """Return the runs of the experiment that match a filter."""
    return client.search_runs([experiment], where, run_view_type=ViewType.ACTIVE_ONLY, max_results=1000)


def _refuse_deleted(experiment: Experiment, uri: str) -> None:
    """Raise ValueError for an experiment that was deleted in MLflow's pages, which takes no run."""
    if experiment.lifecycle_stage == LifecycleStage.DELETED:
        raise ValueError(
            f"the experiment {EXPERIMENT} was deleted in MLflow; bring it back: MLFLOW_TRACKING_URI={uri} "
            f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
        )


def _check_server(uri: str) -> None:
    """Raise ConnectionError if a server does not answer; MLflow's own client would try for minutes."""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=WAIT_SECONDS).close()
    except urllib.error.HTTPError:
        return  # it answers; a proxy may guard this page
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(
            f"no MLflow server answers at MLFLOW_TRACKING_URI={uri} ({reason}); start it, or unset the "
            "variable to keep the history in mlflow.db"
        ) from error
