"""A Hub on this machine, and a process of its own that speaks to it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


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


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """The folder of a small run's report with all figures, and the files that it is of; read-only."""
    # Imported here, after jaxtyping's hook.
    from avss_core.files.digests import digest_path
    from avss_core.files.writing import write_json
    from tests.tasks.report_records import run_records, times, write_run

    root, found = tmp_path_factory.mktemp("drawn"), run_records()
    write_json(root / "pruned/certificate.json", found["pruned/certificate.json"])
    write_json(root / "speed.json", times(digest_path(root / "pruned/certificate.json")))
    _, files = write_run(found, root)
    return root / "reports", files
