import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from flows.running.keeper import end, of_pipeline

ROOT = Path(__file__).resolve().parents[3]
VARIABLE = "AVSS_TEST_PIPELINE"

PARENT = """
import os, subprocess, sys
from flows.running.keeper import keeper
with keeper("AVSS_TEST_PIPELINE", os.environ["AVSS_TEST_PIPELINE"]):
    command = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    print(child.pid, flush=True)
    sys.stdin.read()
"""

COMMAND = """
import os, sys, urllib.request
from avss_core.cli.errors import readable_errors
from flows.running.server import kept_server
with readable_errors():
    with kept_server():
        from prefect.settings import PREFECT_API_URL
        address = PREFECT_API_URL.value()
        try:
            print(address, os.environ.get("AVSS_SERVER"), flush=True)
            sys.stdin.read()
        except KeyboardInterrupt:
            urllib.request.urlopen(address + "/health", timeout=20)
            print("the server answers", flush=True)
            raise
"""


@pytest.fixture
def name():
    """A name that no other process has; its processes are gone after the test."""
    name = uuid.uuid4().hex
    yield name
    end(of_pipeline(VARIABLE, name), 5)


def _parent(name):
    command = [sys.executable, "-c", PARENT]
    environment = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    environment |= {VARIABLE: name}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_what_a_killed_pipeline_started_ends_with_it_and_so_does_the_keeper(name):
    with _parent(name) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    child.wait(60)
    _, alive = psutil.wait_procs(of_pipeline(VARIABLE, name), timeout=60)
    assert alive == []


def test_a_pipeline_that_ends_by_itself_takes_its_keeper_along_and_nothing_else(name):
    with _parent(name) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.communicate()
    assert parent.returncode == 0
    assert [process.pid for process in of_pipeline(VARIABLE, name)] == [child.pid]


@pytest.fixture(scope="module")
def command_home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def command(command_home):
    """A function that starts a process with a server of its own, in a group of its own as at a terminal."""

    def start(**variables):
        environment = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
        environment |= {"AVSS_HOME": str(command_home), "PREFECT_HOME": str(command_home)} | variables
        started = subprocess.Popen(
            [sys.executable, "-c", COMMAND], cwd=ROOT, env=environment, start_new_session=True, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        address, name = started.stdout.readline().split()
        return started, address, [] if name == "None" else of_pipeline("AVSS_SERVER", name)

    return start


def test_what_a_single_command_starts_ends_with_it(command):
    started, _, known = command()
    assert len(known) >= 2, "the server and the keeper"
    started.kill()
    _, alive = psutil.wait_procs(known, timeout=60)
    assert alive == []
    started.communicate()


def test_ctrl_c_reaches_the_command_and_not_its_server(command):
    started, _, known = command()
    os.killpg(started.pid, signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out) == (130, "the server answers\n")
    assert err.splitlines()[-1] == "interrupted; run the same command again to go on from the finished units"
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(known, timeout=60)
    assert alive == []


def test_a_server_that_is_named_is_left_alone(command, prefect_harness):
    started, address, known = command(PREFECT_API_URL=prefect_harness)
    assert (address, known) == (prefect_harness, [])
    started.kill()
    started.communicate()


def test_a_process_that_does_not_listen_is_killed(name):
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    command = [sys.executable, "-S", "-c", f"import signal, time; {code}"]
    with subprocess.Popen(command, env=os.environ | {VARIABLE: name}, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        (deaf,) = of_pipeline(VARIABLE, name)
        deaf.terminate()
        assert deaf.is_running()
        end([deaf], 0.5)
    assert of_pipeline(VARIABLE, name) == []


def test_other_names_are_left_alone(name):
    command = [sys.executable, "-S", "-c", "input()"]
    with subprocess.Popen(command, env=os.environ | {VARIABLE: name}, stdin=subprocess.PIPE) as process:
        assert of_pipeline(VARIABLE, name[:-1]) == []
        process.communicate(b"\n")
    assert process.returncode == 0
