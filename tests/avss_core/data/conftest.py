"""A Hub on this machine, and a process of its own that speaks to it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def local_hub(tmp_path):
    """A server of what lies in its `folder`, as `tests.local_hub.serve` says."""
    from tests.local_hub import serve

    with serve(tmp_path) as server:
        yield server


@pytest.fixture
def run():
    """A function that runs code in a process of its own.

    The libraries of the Hub read their environment when they are imported.
    """

    def run(code, *arguments, **environment):
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=REPOSITORY,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return run
