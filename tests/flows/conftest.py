"""A Prefect server for the session, and a home of its own for all that flows leave behind."""

import atexit
import importlib
import os
import tempfile

import pytest

# Set before anything imports flows or prefect, which read it once: nothing is written into the repository.
_HOME = tempfile.TemporaryDirectory(prefix="avss-tests-")
atexit.register(_HOME.cleanup)
os.environ["AVSS_HOME"] = _HOME.name


@pytest.fixture(scope="session")
def prefect_harness():
    """Yield while a Prefect server with a database of its own runs."""
    importlib.import_module("flows")  # sets Prefect's environment, which prefect reads when it is imported
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
