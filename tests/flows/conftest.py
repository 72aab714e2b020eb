"""A Prefect server for the session."""

import importlib
import os

import pytest


@pytest.fixture(scope="session")
def prefect_harness():
    """Yield the address of a Prefect server with a database of its own."""
    importlib.import_module("flows")  # sets Prefect's environment, which prefect reads when it is imported
    from prefect.events.worker import EventsWorker
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
        yield PREFECT_API_URL.value()
        # Nobody reads the last events of a server that ends, and where a test has run Dask in this process
        # their sender never says that it is done.
        EventsWorker.drain_all = lambda: None


@pytest.fixture(autouse=True)
def _loud_again():
    """Take back what a command told the processes that it starts, so that those of the next test log all."""
    yield
    for name in [name for name in os.environ if name.startswith("PREFECT_LOGGING_LOGGERS_")]:
        del os.environ[name]
