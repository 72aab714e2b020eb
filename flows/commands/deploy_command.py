"""The commands `avss deploy` and `avss worker`: scheduled runs (prefect.yaml) at a Prefect server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avss_core.cli.options import AsJson
from avss_core.cli.printing import say_unless, show
from flows import SOURCE

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import WorkPool

POOL = "avss"
"""The work pool of prefect.yaml."""

PREFECT_YAML = SOURCE / "prefect.yaml"

_REPOSITORY = "AVSS_REPOSITORY"
"""Environment variable that prefect.yaml reads on the worker's machine."""

_PREFECT = [sys.executable, "-m", "prefect"]
_WORKER = [*_PREFECT, "worker", "start", "--pool", POOL, "--type", "process", "--limit", "1"]

_HOW = (
    "start one, and leave it running:\n"
    "  prefect server start --host 127.0.0.1\n"
    "then name it where you run avss:\n"
    "  export PREFECT_API_URL=http://127.0.0.1:4200/api"
)


def deploy(
    names: Annotated[
        list[str] | None,
        typer.Option("--name", help="A deployment of prefect.yaml; may be repeated. Left out: all."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be registered; needs no server.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Register the scheduled runs of prefect.yaml at a Prefect server: pipeline and drift check.

    The server must be there already (PREFECT_API_URL). The work pool avss is
    made where it is missing, for one run at a time. Nothing runs before a
    worker does: avss worker.

    Example: avss deploy
    """
    wanted = _configured(names)
    if not dry_run:
        with _server() as client:
            _make_pool(client)
            _register([row["name"] for row in wanted])
            wanted = [row | _registered(client, row) for row in wanted]
    title = "Would be registered" if dry_run else "Registered"
    show({"deployments": wanted}, wanted, title=title, as_json=as_json)
    if not dry_run:
        now = f"prefect deployment run {wanted[0]['deployment']}"
        say_unless(as_json, f"`avss worker` runs them. To start one now: {now}")


def worker(
    once: Annotated[
        bool, typer.Option("--once", help="Run what is due, one run after another, and end.")
    ] = False,
) -> None:
    """Run what is due of the scheduled runs, in the repository, until it is stopped.

    One run at a time; others wait. With --once it ends when nothing is due any
    more, with exit code 1 where a run failed: for a timer of the system.

    Example: avss worker
    """
    with _server() as client:
        if _pool(client) is None:  # Prefect's worker would make one without a limit
            raise LookupError(f"the Prefect server has no work pool {POOL}: run `avss deploy` first")
        os.environ[_REPOSITORY] = str(SOURCE)
        os.chdir(SOURCE)
        if once:
            _run_due(client)
            return
    os.execv(_WORKER[0], _WORKER)  # signals go to Prefect's worker itself


@contextmanager
def _server() -> Iterator["SyncPrefectClient"]:
    """Yield a client of the Prefect server that PREFECT_API_URL names.

    Without a name Prefect would start a server for this process alone, where a schedule never fires.

    Raises:
        ConnectionError: no server is named, or it does not answer.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    address = PREFECT_API_URL.value()
    if not address:
        raise ConnectionError(f"no Prefect server is named (PREFECT_API_URL is not set); {_HOW}")
    with get_client(sync_client=True) as client:
        problem = client.api_healthcheck()
        if problem is not None:
            raise ConnectionError(f"the Prefect server {address} does not answer ({problem}); {_HOW}")
        yield client


def _configured(names: list[str] | None) -> list[dict[str, Any]]:
    """Return one row for each wanted deployment of prefect.yaml.

    Raises:
        FileNotFoundError: there is no prefect.yaml.
        LookupError: a name is not in it.
    """
    from ruamel.yaml import YAML

    if not PREFECT_YAML.is_file():
        raise FileNotFoundError(f"{PREFECT_YAML} is not there; scheduled runs need a clone of the repository")
    known = {entry["name"]: entry for entry in YAML(typ="safe").load(PREFECT_YAML)["deployments"]}
    unknown = [name for name in names or [] if name not in known]
    if unknown:
        raise LookupError(f"{PREFECT_YAML.name} has no deployment {unknown[0]!r}: known: {', '.join(known)}")
    return [
        {
            "name": name,
            "deployment": f"{entry['entrypoint'].rpartition('.')[2]}/{name}",
            "schedule": ", ".join(each["cron"] for each in entry["schedules"]),
            "timezone": ", ".join(each["timezone"] for each in entry["schedules"]),
            "pool": entry["work_pool"]["name"],
            "at_a_time": entry["concurrency_limit"]["limit"],
            "retries": entry["parameters"]["retries"],
        }
        for name, entry in known.items()
        if not names or name in names
    ]


def _pool(client: "SyncPrefectClient") -> "WorkPool | None":
    """Return the work pool, None if the server has none."""
    from prefect.exceptions import ObjectNotFound

    with suppress(ObjectNotFound):
        return client.read_work_pool(POOL)
    return None


def _make_pool(client: "SyncPrefectClient") -> None:
    """Make the work pool for one run at a time if it is missing.

    Raises:
        ValueError: the pool exists, and its runs are not processes.
    """
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.workers.process import ProcessWorker

    pool = _pool(client)
    if pool is None:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(name=POOL, type="process", base_job_template=template, concurrency_limit=1)
        )
    elif pool.type != "process":
        raise ValueError(
            f"the work pool {POOL} is of the type {pool.type}, and runs here are processes: remove it, with "
            f"`prefect work-pool delete {POOL}`, and run `avss deploy` again"
        )


def _register(names: list[str]) -> None:
    """Register deployments with Prefect's own command.

    Raises:
        ChildProcessError: Prefect refused; gives its output.
    """
    wanted = [part for name in names for part in ("--name", name)]
    command = [*_PREFECT, "deploy", "--prefect-file", str(PREFECT_YAML), *wanted]
    # Prefect would write the value of a set variable into the deployment, and each worker has its own.
    environment = {name: value for name, value in os.environ.items() if name != _REPOSITORY}
    done = subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChildProcessError(f"Prefect did not register {', '.join(names)}:\n{done.stdout}{done.stderr}")


def _registered(client: "SyncPrefectClient", row: dict[str, Any]) -> dict[str, Any]:
    """Return the active schedules of a deployment, as the server has them."""
    schedules = client.read_deployment_by_name(row["deployment"]).schedules
    return {"schedule": ", ".join(getattr(each.schedule, "cron", "") for each in schedules if each.active)}


def _run_due(client: "SyncPrefectClient") -> None:
    """Run all that is due, one run after another, and print how each ended.

    Raises:
        ChildProcessError: a run failed, or the worker could not run one.
    """
    ended: list[Any] = []
    while due := _due(client):
        code = subprocess.run([*_WORKER, "--run-once", "--prefetch-seconds", "0"], check=False).returncode
        runs = [client.read_flow_run(run) for run in due]
        done = [run for run in runs if run.state is not None and run.state.is_final()]
        if not done:
            raise ChildProcessError(f"the worker ended with exit code {code} and left undone what is due")
        ended += done
    rows = [{"run": run.name, "state": run.state_name, "message": run.state.message} for run in ended]
    show({"runs": rows}, rows, title="What was due", as_json=False)
    failed = [run.name for run in ended if run.state.is_failed() or run.state.is_crashed()]
    if failed:
        raise ChildProcessError(f"{len(failed)} of {len(rows)} runs failed: {', '.join(failed)}")


def _due(client: "SyncPrefectClient") -> list[Any]:
    """Return the ids of the runs that are due, in order."""
    due = client.get_scheduled_flow_runs_for_work_pool(POOL, scheduled_before=datetime.now(UTC))
    return [each.flow_run.id for each in due]
