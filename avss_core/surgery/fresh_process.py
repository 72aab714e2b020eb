"""Check a checkpoint in a process that has seen nothing of it; the caller may be a script, or a worker."""

import builtins
import json
import subprocess
import sys
from pathlib import Path

from avss_core.surgery.file_checks import Check

# Not `multiprocessing`: it would run the caller's own script again, which without a guard starts everything
# anew, and a worker of Dask may not start such a process. Only the answer goes to the standard output; what
# libraries print goes to the error output.
# Ctrl-C reaches both processes: the caller ends the new one, which prints nothing.
_CHILD = """
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
import json, os, sys
answer = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
folder, logits, sys.path[:] = json.load(sys.stdin)
from dataclasses import asdict
from pathlib import Path
from avss_core.surgery.certificate import inspect_with_logits
try:
    checks, measured = inspect_with_logits(Path(folder), logits=logits)
    said = {"checks": list(map(asdict, checks)), "logits": measured}
except Exception as error:
    # The text of a KeyError is its key in quotes, which raising it again would quote once more.
    said = {"error": [type(error).__name__, str(error.args[0] if isinstance(error, KeyError) else error)]}
json.dump(said, answer)
"""


def inspect_afresh(folder: Path, *, logits: bool = True) -> tuple[list[Check], list[float]]:
    """Return the result of `inspect_with_logits` in a new process; its errors are raised here.

    Raises:
        ChildProcessError: the process was killed.
    """
    call = json.dumps([str(folder), logits, sys.path])
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], input=call, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise ChildProcessError(
            "the process that loads the checkpoint to check it was killed, most likely for memory: it needs "
            "room for the whole model in its own dtype, and for its embeddings and one block in float32"
        )
    said = json.loads(done.stdout)
    if "error" in said:
        name, message = said["error"]
        known: type[Exception] | None = getattr(builtins, name, None)
        raise known(message) if known else RuntimeError(f"{name}: {message}")
    return [Check(**check) for check in said["checks"]], said["logits"]
