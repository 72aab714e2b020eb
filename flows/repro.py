"""`make repro`: check the parameters, then `dvc repro` under one Prefect server and one MLflow parent run."""

import subprocess
import sys

from flows import ROOT
from flows.errors import readable_errors
from flows.workspace import Workspace

_DVC = [sys.executable, "-m", "dvc"]


def repro(arguments: list[str]) -> int:
    """Run `dvc repro` with arguments in the repository, and return its exit code."""
    if not arguments and up_to_date():
        print("Nothing has changed: every stage is up to date. The report is reports/index.html.")
        return 0
    # Imported here, so that a run with nothing to do takes seconds.
    from flows.params import load_params
    from flows.server import prefect_server
    from tasks.masking import masked
    from tasks.tracking import pipeline_run

    load_params(ROOT / "params.yaml")
    with prefect_server() as address, pipeline_run(ROOT):
        server = masked(address.removesuffix("/api"))
        print(f"Prefect server at {server} while the pipeline runs", flush=True)
        code = subprocess.run([*_DVC, "repro", *arguments], cwd=ROOT, check=False).returncode
        if code:
            raise SystemExit(code)
    for line in measured_speed(Workspace(ROOT)):
        print(line)
    print("The report is reports/index.html; `make ui` shows the experiments.")
    return 0


def measured_speed(workspace: Workspace) -> list[str]:
    """Return what this machine's times say of the pruned checkpoint, nothing where they are of another."""
    from avss_core.digests import digest_path, read_json
    from tasks.speed import speed_lines

    certificate = workspace.pruned / "certificate.json"
    if not (workspace.times.is_file() and certificate.is_file()):
        return []
    record = read_json(workspace.times)
    return speed_lines(record) if record["checkpoint"] == digest_path(certificate) else []


def up_to_date() -> bool:
    """Tell whether DVC finds nothing to do, without starting a server."""
    if not (ROOT / "dvc.lock").is_file():
        return False
    status = subprocess.run(
        [*_DVC, "status", "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return status.returncode == 0 and status.stdout.strip().splitlines()[-1:] == ["{}"]


if __name__ == "__main__":
    with readable_errors():
        sys.exit(repro(sys.argv[1:]))
