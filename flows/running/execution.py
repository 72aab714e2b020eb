"""Run units of work in this process, or in the processes of Dask or Ray.

Only this module reads the section `execution`. No cache key, no result and no DVC stage depends on it, so the
engine may be changed at any time.
"""

import functools
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from prefect import flow, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from avss_core.caching.kept_results import Run, counted, filled, leaves
from avss_core.caching.unit import Unit
from avss_core.display.steps import progress
from avss_core.settings.params import Params
from tasks.cache.units import as_task

CONNECT_SECONDS = 20
"""Seconds that a cluster with an address may take to answer."""

_STARTED = ExitStack()
"""Closes the clusters that this process has started or is connected to."""


def run(params: Params, jobs: Any, label: str, *, threads: bool = False, sizes: Sequence[float] = ()) -> Any:
    """Return the results of units in the shape of `jobs`, run as `params.execution` says.

    Args:
        params: all of them.
        jobs: units with their arguments (`functools.partial`) in nested dicts and lists. They start in this
            order, so those of one model should stand together.
        label: name of the bar and of the flow.
        threads: whether these units may run in several threads of one process. Most may not: they put hooks
            on the one model that the process holds, and torch has threads of its own.
        sizes: work of each unit, for the time left; equal if empty.

    Raises:
        OSError: the cluster does not answer.
    """
    flat = [_as_tasks(job) for job in leaves(jobs)]
    runner = task_runner(params, threads=threads) if len(flat) > 1 else None
    with progress(label, len(flat), "units", sizes) as advance:
        if runner is None:
            return filled(jobs, iter([counted(advance, job()) for job in flat]))

        @flow(name="fan-out", flow_run_name=label, task_runner=runner, persist_result=False)
        def fan_out() -> list[Any]:
            futures = [job.func.submit(*job.args, **job.keywords) for job in flat]
            return [counted(advance, future.result()) for future in futures]

        with _one_server():
            return filled(jobs, iter(fan_out()))


def run_in(params: Params) -> Run:
    """Return what runs units as these parameters say, for the jobs of the core."""
    return functools.partial(run, params)


def _as_tasks(job: Any) -> Any:
    """Return the call of a unit of the core as one of its Prefect task; that of a task as it is."""
    if not isinstance(job.func, Unit):
        return job
    return functools.partial(as_task(job.func), *job.args, **job.keywords)


def task_runner(params: Params, *, threads: bool = False) -> TaskRunner[Any] | None:
    """Return the Prefect task runner of the parameters; None if units run one after another.

    Without an address the first call starts processes, which keep their models in memory as long as this
    process runs.

    Raises:
        OSError: the cluster does not answer.
    """
    options = params.execution
    if options.engine != "threads":
        runner: TaskRunner[Any] = _connected(options.engine, options.address, options.workers)()
        return runner
    if threads and options.workers > 1 and not params.spread:
        return ThreadPoolTaskRunner(max_workers=options.workers)
    return None


def stop() -> None:
    """End the processes that this one has started, and disconnect; the next call starts anew."""
    _STARTED.close()
    _connected.cache_clear()


@functools.lru_cache(maxsize=1)
def _connected(engine: str, address: str | None, workers: int) -> Callable[[], TaskRunner[Any]]:
    """Return a factory of task runners of an engine that is ready.

    Raises:
        OSError: the cluster does not answer.
    """
    _STARTED.close()  # another engine, or another number of processes
    start = {"dask": _dask, "ray": _ray}[engine]
    if address is None:
        return start(None, workers)
    try:
        _knock(address)
        return start(address, workers)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise OSError(
            f"execution.address {address!r}: no {engine} cluster answers there ({reason}); "
            f"start one, or set the address to null for {workers} process(es) of this machine"
        ) from error


def _knock(address: str) -> None:
    """Connect to an address and disconnect: an engine's own client may try for minutes."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), timeout=CONNECT_SECONDS).close()


def _dask(address: str | None, workers: int) -> Callable[[], TaskRunner[Any]]:
    """Return a factory of task runners of a Dask cluster."""
    from distributed import Client, LocalCluster
    from prefect_dask.task_runners import DaskTaskRunner

    logging.getLogger("distributed").setLevel(logging.WARNING)  # it logs every connection
    if address is None:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,  # one unit at a time uses the model of a process
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,  # Dask would end a worker whose model takes more than its share
            env=_worker_environment(workers),
        )
        _STARTED.callback(cluster.close)
        address = str(cluster.scheduler_address)
    else:
        Client(address, timeout=CONNECT_SECONDS, set_as_default=False).close()
    return functools.partial(DaskTaskRunner, address=address)


def _ray(address: str | None, workers: int) -> Callable[[], TaskRunner[Any]]:
    """Connect this process to Ray, and return a factory of its task runners."""
    import ray
    from prefect_ray import RayTaskRunner

    options: dict[str, Any] = {"namespace": "avss", "log_to_driver": False, "configure_logging": False}
    if address is None:
        options |= {
            "num_cpus": workers,
            "include_dashboard": False,
            "object_store_memory": 100_000_000,  # no tensor goes through it
            "_node_ip_address": "127.0.0.1",
        }
    # Ray would give its workers a lower priority than everything else on the machine.
    here = _worker_environment(workers) | {"RAY_worker_niceness": "0"}
    with _environment({} if address else here):
        ray.init(address=address or "local", **options)
    _STARTED.callback(ray.shutdown)
    return RayTaskRunner


def _worker_environment(workers: int) -> dict[str, str]:
    """Return the environment of processes of this machine: their share of the cores, and the module path."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, int(os.environ.get("OMP_NUM_THREADS") or mine) // workers)
    return {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that the context starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _one_server() -> Iterator[None]:
    """Give an engine's processes the Prefect server of this one; otherwise each starts its own."""
    with get_client(sync_client=True) as client:
        address = str(client.api_url).rstrip("/")
    with temporary_settings({PREFECT_API_URL: address}):
        yield
