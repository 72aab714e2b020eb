"""One Prefect server for a whole pipeline or command, on loopback.

Prefect's own temporary server shares the terminal with its command: Ctrl-C ends the server first, and the
command then waits for it for minutes. This one has a session of its own.
"""

import http.client
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

from avss_core.display.steps import working
from flows import ROOT
from flows.running.keeper import keeper
from tasks.history.databases import database_url, is_damaged

_DRIVER = "sqlite+aiosqlite"

_SERVER = "AVSS_SERVER"
"""Environment variable by which the server of a single command is known."""

START_SECONDS = 300
"""Seconds until a server that runs but does not answer is given up."""

WAIT_SECONDS = 10.0
"""Seconds that a server with an address has to answer."""


@contextmanager
def prefect_server() -> Iterator[str]:
    """Yield the address of a Prefect server that lives as long as the context, or of one that is set.

    Raises:
        OSError: the server did not start (gives its last words and names its log), or nothing answers at the
            address that is set.
    """
    known = named_server()
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
    home = Path(os.environ["PREFECT_HOME"])
    database = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url(home / "prefect.db", _DRIVER)}
    with log.open("w") as output:
        server = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Prefect's own address of the file is wrong where its folder has one of these.
            env=(database if {*"%?"} & {*str(home)} else {}) | os.environ,
        )
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
    from prefect.logging.handlers import APILogHandler
    from prefect.settings import PREFECT_API_URL, temporary_settings

    if named_server():
        yield
        return
    os.environ[_SERVER] = name = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
    with keeper(_SERVER, name), prefect_server() as address, temporary_settings({PREFECT_API_URL: address}):
        try:
            yield
        finally:
            APILogHandler().flush()  # later no server takes what was logged last


def named_server() -> str | None:
    """Return the address of the Prefect server that the user has set and that answers, None if none is set.

    Raises:
        ConnectionError: nothing answers there; Prefect's own client would try for minutes.
    """
    from prefect.settings import PREFECT_API_URL

    variable = os.environ.get("PREFECT_API_URL")
    address = variable or PREFECT_API_URL.value()
    if not address:
        return None
    try:
        urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=WAIT_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # it answers; a page may need a password
    except (OSError, ValueError, http.client.HTTPException) as error:
        where = "the environment" if variable else "a profile, .env or prefect.toml (`prefect config view`)"
        raise ConnectionError(
            f"no Prefect server answers at PREFECT_API_URL={address} ({getattr(error, 'reason', error)}), "
            f"which {where} sets; start it, or unset it, and each command starts one of its own"
        ) from error
    return address


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
    if server.poll() is None:
        raise OSError(f"the Prefect server did not start within {START_SECONDS} s; its log is {log}")
    said = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    last = next((line for line in reversed(said) if line), "it said nothing")
    raise OSError(f"the Prefect server ended when it started: {last}; its log is {log}")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server, gently first."""
    server.terminate()
    try:
        server.wait(timeout=20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
