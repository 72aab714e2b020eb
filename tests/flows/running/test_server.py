import os
import socket
import subprocess
import sys

import pytest


@pytest.fixture
def server(monkeypatch):
    from flows.running import server

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return server


@pytest.fixture
def dead():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/api"


@pytest.mark.parametrize("manager", ["prefect_server", "kept_server"])
def test_a_variable_that_names_a_dead_server_is_told_at_once(server, monkeypatch, dead, manager):
    monkeypatch.setenv("PREFECT_API_URL", dead)
    with (
        pytest.raises(
            ConnectionError, match=f"answers at PREFECT_API_URL={dead} .*refused.*environment sets"
        ),
        getattr(server, manager)(),
    ):
        pass


@pytest.mark.parametrize("manager", ["prefect_server", "kept_server"])
def test_so_is_a_profile_that_does(server, dead, manager):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: dead}),
        pytest.raises(ConnectionError, match=r"which a profile, .* sets"),
        getattr(server, manager)(),
    ):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:4200/api", "nonsense", "http://[::1/api"])
def test_so_is_what_is_no_address(server, monkeypatch, address):
    monkeypatch.setenv("PREFECT_API_URL", address)
    with pytest.raises(ConnectionError, match="no Prefect server answers at PREFECT_API_URL="):
        server.named_server()


def test_a_server_that_answers_is_used(server, prefect_harness, monkeypatch):
    assert server.named_server() == prefect_harness
    monkeypatch.setenv("PREFECT_API_URL", prefect_harness)
    with server.prefect_server() as address:
        assert address == prefect_harness
    assert os.environ["PREFECT_API_URL"] == prefect_harness


def test_a_server_that_ends_at_once_says_why(server, tmp_path):
    log = tmp_path / "server.log"
    code = "import sys; sys.exit('no such table: flow')"
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, "-c", code], stderr=output)
    process.wait()
    with pytest.raises(
        OSError, match=r"ended when it started: no such table: flow; its log is .*server\.log"
    ):
        server._wait("http://127.0.0.1:9/api", process, log)


STARTED = """
import flows
from flows.running.server import prefect_server
with prefect_server():
    pass
assert (flows.ROOT / ".prefect" / "prefect.db").is_file()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a%20b", "a?b"])
def test_the_database_opens_in_a_folder_with_signs_of_an_address(tmp_path, name):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT")}
    environment = kept | {"AVSS_HOME": str(tmp_path / name)}
    subprocess.run([sys.executable, "-c", STARTED], env=environment, check=True, timeout=200)
    assert [path.name for path in tmp_path.iterdir()] == [name]
