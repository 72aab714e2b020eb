"""What ends a pipeline whose own process was killed: `python -m flows.running.keeper`, started by `keeper`.

It waits at a pipe. The system closes that pipe however the pipeline ends, a SIGKILL included, on every
Unix; what was not told "done" before ends dvc, its stage and the Prefect server of that pipeline.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_DONE = b"done\n"


@contextmanager
def keeper(variable: str, name: str) -> Iterator[None]:
    """End the processes of a pipeline if this process dies inside the context.

    Args:
        variable: environment variable by which they are known.
        name: its value.
    """
    command = [sys.executable, "-m", "flows.running.keeper", variable, name]
    # A session of its own, so that Ctrl-C does not reach it.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        with suppress(BrokenPipeError):
            process.communicate(_DONE)


def main(variable: str, name: str) -> None:
    """Wait until the pipeline ends, and end what is left of it where it did not say that it is done."""
    if sys.stdin.buffer.read() == _DONE:
        return
    from flows.running.processes import end_all

    end_all(variable, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
