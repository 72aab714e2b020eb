"""A copy of the project's code, which a test may edit and run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tree(tmp_path):
    """A copy of the project's code."""
    hidden = shutil.ignore_patterns("__pycache__")
    for name in ("avss_core", "tasks", "flows"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=hidden)
    return tmp_path


@pytest.fixture
def python_in(tree):
    """A function that runs Python in the copy, and returns what it prints."""
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*arguments):
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
