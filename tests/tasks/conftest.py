"""A small report with all its figures."""

import pytest


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
