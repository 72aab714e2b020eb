import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from flows.processes import end, of_pipeline

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "AVSS_TEST_PIPELINE"

PARENT = """
import os, subprocess, sys
from flows.keeper import keeper, kept_server
with {kept}:
    command = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def name():
    """A name that no other process has; its processes are gone after the test."""
    found = uuid.uuid4().hex
    yield found
    end(of_pipeline(VARIABLE, found), 5)


def _parent(name, kept='keeper("AVSS_TEST_PIPELINE", os.environ["AVSS_TEST_PIPELINE"])', **variables):
    command = [sys.executable, "-c", PARENT.format(kept=kept)]
    environment = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    environment |= {VARIABLE: name} | variables
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


@pytest.mark.parametrize("variables", [{}, {"PREFECT_API_URL": "http://127.0.0.1:1/api"}])
def test_what_a_single_command_starts_ends_with_it_unless_the_server_is_another_ones(name, variables):
    with _parent(name, "kept_server()", **variables) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert len(of_pipeline(VARIABLE, name)) == (2 if variables else 3)
        parent.send_signal(signal.SIGKILL)
    if not variables:
        child.wait(60)
    assert child.is_running() == bool(variables)


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
