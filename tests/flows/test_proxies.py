import os
import subprocess
import sys

import pytest

ASK = """
import os, sys
import flows
from flows.running.server import prefect_server
with prefect_server() as address:
    from prefect import flow, task
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from tasks.history.run_store import _check_server
    with temporary_settings({PREFECT_API_URL: address}):
        assert flow(name="seven", persist_result=False)(lambda: task(name="seven")(lambda: 7)())() == 7
    _check_server(address)  # as MLflow's own server on this machine
"""
PROXY = "http://127.0.0.1:9"
"""Nothing answers there."""


@pytest.fixture
def bare(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    for name in [name for name in kept if name.startswith("PREFECT")]:
        del kept[name]
    return {**kept, "AVSS_HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / ".prefect")}


def hosts(
    environment, code="import os, flows; print(os.environ.get('NO_PROXY'), os.environ.get('no_proxy'))"
):
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()


LOOPBACK = "localhost,127.0.0.1,::1"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"HTTP_PROXY": PROXY}, LOOPBACK),
        ({"http_proxy": PROXY}, LOOPBACK),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "corp.example"}, f"corp.example,{LOOPBACK}"),
        ({"https_proxy": PROXY, "no_proxy": "a, localhost"}, "a,localhost,127.0.0.1,::1"),
        ({"HTTP_PROXY": PROXY, "no_proxy": "", "NO_PROXY": "b"}, f"b,{LOOPBACK}"),
        ({"HTTP_PROXY": PROXY, "no_proxy": "a", "NO_PROXY": "b"}, f"a,b,{LOOPBACK}"),
        ({"HTTP_PROXY": PROXY, "NO_PROXY": "*"}, "*"),
    ],
)
def test_loopback_needs_no_proxy(bare, given, expected):
    assert hosts(bare | given) == [expected, expected]


def test_without_a_proxy_nothing_is_set(bare):
    assert hosts(bare) == ["None", "None"], "where the variable is set, a Mac's own settings are not read"
    assert hosts(bare | {"NO_PROXY": "b", "HTTP_PROXY": ""}) == ["b", "None"]


@pytest.mark.slow
def test_the_own_servers_are_reached_behind_a_proxy(bare):
    proxies = dict.fromkeys(["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"], PROXY)
    subprocess.run([sys.executable, "-c", ASK], env=bare | proxies, check=True, timeout=200)
