"""What a command in a process of its own says of an error: one message, after what it did."""

import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file, save_file


@pytest.mark.slow
def test_an_error_inside_a_unit_is_the_last_line_and_the_only_one(checkpoint, tmp_path):
    tensors = load_file(checkpoint / "model.safetensors")
    next(t for name, t in tensors.items() if "layers.2.mlp.up_proj" in name)[0, 0] = float("nan")
    save_file(tensors, checkpoint / "model.safetensors", {"format": "pt"})
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    done = subprocess.run(
        [sys.executable, "-m", "avss_core.cli.app", "score", str(checkpoint), "--set", "collect.window=64"],
        env=kept | {"AVSS_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    *steps, last = done.stderr.splitlines()
    assert last.startswith("error: layer 2, site output: an activation of sample 0 is not a finite number")
    assert not [line for line in steps if "Error" in line or "WARNING" in line]
