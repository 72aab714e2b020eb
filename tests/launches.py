"""Several processes of the CPU, as `accelerate launch` starts them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def launched(processes, *command, cwd=None, share_weights=False):
    """Run a script, or a module after `-m`, in some processes; one is started without the launcher."""
    # Of the CPU's processes accelerate starts several by MPI alone; the launcher of GPUs needs none.
    kind = ["--use_fsdp", "--fsdp_version", "2"] if share_weights else ["--multi_gpu"]
    launch = ["-m", "accelerate.commands.launch", *kind, "--num_processes", str(processes)]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--main_process_port", "0"]
    return subprocess.run(
        [sys.executable, *(launch if processes > 1 else []), *map(str, command)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
