"""One Prefect server for a whole pipeline or command, on loopback.

The server that Prefect would start by itself shares the terminal with its command: Ctrl-C ends it first, and
the command then waits minutes for a server that is gone. This one has a session of its own.
"""

import functools
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from flows import ROOT
from flows.running.keeper import keeper
from tasks.history.databases import is_damaged
from tasks.progress.steps import working

P = ParamSpec("P")
T = TypeVar("T")

_SERVER = "AVSS_SERVER"
"""Environment variable by which the server of a single command is known."""

START_SECONDS = 300
"""Until a server that still runs and does not answer is given up; one that has ended is at once."""


@contextmanager
def prefect_server() -> Iterator[str]:
    """Yield the address of a Prefect server that lives as long as the context; one that is set stays.

    Raises:
        OSError: the server did not start; names its log.
    """
    known = os.environ.get("PREFECT_API_URL")
    if known:
        yield known
        return
    log = ROOT / ".prefect" / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    _drop_damaged(log.with_name("prefect.db"))
    port = _free_port()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    address = f"http://127.0.0.1:{port}/api"
    try:
        with working("starting a Prefect server"):
            _wait(address, server, log)
        os.environ["PREFECT_API_URL"] = address
        yield address
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        _stop(server)


@contextmanager
def kept_server() -> Iterator[None]:
    """Run a Prefect server that ends with this process, however that ends; one that is named stays."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    os.environ[_SERVER] = name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
    with keeper(_SERVER, name), prefect_server() as address, temporary_settings({PREFECT_API_URL: address}):
        yield


def served(work: Callable[P, T]) -> Callable[P, T]:
    """Return what a command runs, with a Prefect server around it."""

    @functools.wraps(work)
    def call(*arguments: P.args, **settings: P.kwargs) -> T:
        with kept_server():
            return work(*arguments, **settings)

    return call


def _drop_damaged(database: Path) -> None:
    """Remove the server's database where it is damaged: it only holds what the server's pages show."""
    if is_damaged(database):
        for path in database.parent.glob(f"{database.name}*"):
            path.unlink()


def _free_port() -> int:
    """Return a port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise OSError(f"the Prefect server did not start within {START_SECONDS} s; its log is {log}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server, gently first."""
    server.terminate()
    try:
        server.wait(timeout=20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
