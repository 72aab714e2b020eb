"""Where runs are kept: the home's own SQLite file, or what MLFLOW_TRACKING_URI names."""

import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import ViewType

from tasks.history.databases import database_url, is_damaged
from tasks.history.masking import tracking_uri

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

    Raises:
        ConnectionError: MLFLOW_TRACKING_URI names a server that does not answer.
        OSError: the SQLite file is damaged.
    """
    home = home.resolve()
    own = database_url(home / "mlflow.db")
    uri = tracking_uri() or own
    if uri.startswith(("http://", "https://")):
        _check_server(uri)
    # MLflow migrates a fresh SQLite file on first use, and two processes at once would break it.
    with store_lock(home):
        if uri == own and is_damaged(home / "mlflow.db"):
            raise OSError(
                f"{home / 'mlflow.db'}, the history of experiments, is damaged: put a copy of it in its "
                "place, or move it away to begin a new one"
            )
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return client, experiment.experiment_id
        # A server keeps figures and tables itself; with a database they would go to ./mlruns.
        alone = uri.startswith(_DATABASES)
        location = (home / "mlartifacts").as_uri() if alone else None
        return client, client.create_experiment(EXPERIMENT, artifact_location=location)


def search(client: MlflowClient, experiment: str, where: str) -> Sequence[Any]:
    """Return the runs of the experiment that match a filter."""
    return client.search_runs([experiment], where, run_view_type=ViewType.ACTIVE_ONLY, max_results=1000)


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
