"""Run a command as a Prefect task: its output goes to the log of the run, and a failure is retried."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from prefect import task


@task(name="run-command", log_prints=True)
def run_command(
    command: Sequence[str],
    *,
    folder: Path,
    output: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command in a process of its own, and log its lines.

    Args:
        command: the program and its arguments.
        folder: where it runs.
        output: file for its standard output, which is then not logged.
        environment: variables to change for it.

    Raises:
        RuntimeError: the command failed; gives its last errors, or its last line.
    """
    # Without the variables of this run: the command's own flows are runs of their own.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT__")}
    lines = []
    with ExitStack() as stack:
        kept = None if output is None else stack.enter_context(output.open("w", encoding="utf-8"))
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=inherited | dict(environment or {}),
            stdout=kept or subprocess.PIPE,
            stderr=subprocess.PIPE if kept else subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        stack.enter_context(process)
        for line in process.stdout or process.stderr or ():
            if line.strip():
                lines.append(line.rstrip())
                print(lines[-1])
    if process.returncode:
        errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:]
        said = "; ".join(errors[-2:]) or "it said nothing"
        raise RuntimeError(f"{Path(command[0]).name} ended with exit code {process.returncode}: {said}")
