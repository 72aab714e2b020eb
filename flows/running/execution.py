"""Where units of work run: in this process, or in the processes of Dask or Ray; never what they return.

Only this module reads the section `execution`: no key, no result and no stage of DVC knows of it, so that the
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

from flows.settings.params import Params
from tasks.progress.steps import progress

CONNECT_SECONDS = 20
"""How long a cluster that has an address may take to answer."""

_STARTED = ExitStack()
"""Ends what this process has started or is connected to."""


def run(params: Params, jobs: Any, label: str, *, threads: bool = False, sizes: Sequence[float] = ()) -> Any:
    """Return what units return, in the shape in which they are given; as many run at a time as may.

    Args:
        params: of which `execution` says where the units run.
        jobs: units with their arguments (`functools.partial`) in dicts and lists, nested at will. They start
            in this order, so those of one model should stand together.
        label: what the bar and the flow are called.
        threads: whether these units may run in several threads of one process. Most may not: they put hooks
            on the one model that the process holds, and torch has threads of its own.
        sizes: how much work each unit is, in their order; alike where left out. The time left follows them.

    Raises:
        OSError: the cluster does not answer.
    """
    flat = list(_leaves(jobs))
    runner = task_runner(params, threads=threads) if len(flat) > 1 else None
    with progress(label, len(flat), "units", sizes) as advance:
        if runner is None:
            return _filled(jobs, iter([_told(advance, job()) for job in flat]))

        @flow(name="fan-out", flow_run_name=label, task_runner=runner, persist_result=False)
        def fan_out() -> list[Any]:
            futures = [job.func.submit(*job.args, **job.keywords) for job in flat]
            return [_told(advance, future.result()) for future in futures]

        with _one_server():
            return _filled(jobs, iter(fan_out()))


def task_runner(params: Params, *, threads: bool = False) -> TaskRunner[Any] | None:
    """Return the Prefect task runner of the parameters; None where one unit runs after another.

    Without an address the processes are started by the first call and stay as long as this process, with
    their models in memory.

    Raises:
        OSError: the cluster does not answer.
    """
    options = params.execution
    if options.engine != "threads":
        runner: TaskRunner[Any] = _connected(options.engine, options.address, options.workers)()
        return runner
    # The weights of a model that is spread over devices come and go in the middle of a pass.
    if threads and options.workers > 1 and params.model.device != "auto":
        return ThreadPoolTaskRunner(max_workers=options.workers)
    return None


def stop() -> None:
    """End the processes that this one has started, and let go of a cluster; the next call starts anew."""
    _STARTED.close()
    _connected.cache_clear()


@functools.lru_cache(maxsize=1)
def _connected(engine: str, address: str | None, workers: int) -> Callable[[], TaskRunner[Any]]:
    """Return what makes task runners of an engine that is ready to work.

    Raises:
        OSError: the cluster does not answer.
    """
    _STARTED.close()  # those of another engine, or another number of them
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
    """Connect to an address and hang up: an engine's own client may try for minutes before it gives up."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), timeout=CONNECT_SECONDS).close()


def _dask(address: str | None, workers: int) -> Callable[[], TaskRunner[Any]]:
    """Return what makes task runners of a Dask cluster."""
    from distributed import Client, LocalCluster
    from prefect_dask.task_runners import DaskTaskRunner

    logging.getLogger("distributed").setLevel(logging.WARNING)  # it tells of every connection
    if address is None:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,  # a unit has the process and its model for itself
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
    """Return what makes task runners of Ray, to which this process is connected from here on."""
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
    """Return what processes of this machine find set: their share of the cores, and where modules are."""
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, int(os.environ.get("OMP_NUM_THREADS") or mine) // workers)
    return {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, which processes started inside the context inherit."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _one_server() -> Iterator[None]:
    """Lead the processes of an engine to the Prefect server of this one; else each would start its own."""
    with get_client(sync_client=True) as client:
        address = str(client.api_url).rstrip("/")
    with temporary_settings({PREFECT_API_URL: address}):
        yield


def _told(advance: Callable[[int], None], result: Any) -> Any:
    """Return a result once the bar knows of it."""
    advance(1)
    return result


def _leaves(jobs: Any) -> Iterator[Any]:
    """Yield the units of a nest of dicts and lists, in order."""
    if isinstance(jobs, (dict, list)):
        for inner in jobs.values() if isinstance(jobs, dict) else jobs:
            yield from _leaves(inner)
    else:
        yield jobs


def _filled(jobs: Any, results: Iterator[Any]) -> Any:
    """Return the nest with each unit's result in its place."""
    if isinstance(jobs, dict):
        return {name: _filled(inner, results) for name, inner in jobs.items()}
    return [_filled(inner, results) for inner in jobs] if isinstance(jobs, list) else next(results)
