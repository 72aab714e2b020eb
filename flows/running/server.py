"""One Prefect server for a whole pipeline or command, on loopback.

Prefect's own temporary server shares the terminal with its command: Ctrl-C ends the server first, and the
command then waits for it for minutes. This one has a session of its own.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows import ROOT
from flows.running.keeper import keeper
from tasks.history.databases import is_damaged
from tasks.progress.steps import working

_SERVER = "AVSS_SERVER"
"""Environment variable by which the server of a single command is known."""

START_SECONDS = 300
"""Seconds until a server that runs but does not answer is given up."""


@contextmanager
def prefect_server() -> Iterator[str]:
    """Yield the address of a Prefect server that lives as long as the context, or of one that is set.

    Raises:
        OSError: the server did not start; names its log.
    """
    known = os.environ.get("PREFECT_API_URL")
    if known:
        yield known
        return
    log = ROOT / ".prefect" / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if is_damaged(log.with_name("prefect.db")):  # it only holds what the server's pages show
        for path in log.parent.glob("prefect.db*"):
            path.unlink()
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
    """Run a Prefect server that ends with this process, however that ends, unless one is set."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if PREFECT_API_URL.value():
        yield
        return
    os.environ[_SERVER] = name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
    with keeper(_SERVER, name), prefect_server() as address, temporary_settings({PREFECT_API_URL: address}):
        yield


def _free_port() -> int:
    """Return a free port of the loopback interface."""
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
