"""Finished blocks of a repair in a folder, so that a stopped one goes on."""

import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from avss_core.files.writing import disk_errors, part_name
from avss_core.surgery.repair.refitting import Refit


def write_refit(folder: Path, refit: Refit) -> None:
    """Write what was changed in one block, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    path = _path(folder, refit.layer)
    part = path.with_name(part_name(path.name))
    about = {"layer": refit.layer, "ridges": dict(refit.ridges), "errors": dict(refit.errors)}
    try:
        with disk_errors():
            save_file(
                {name: tensor.contiguous() for name, tensor in refit.tensors.items()},
                part,
                metadata={"refit": json.dumps(about)},
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_refits(folder: Path) -> Sequence[Refit]:
    """Return the finished blocks in depth order; from the first damaged file on, blocks are made anew."""
    found = []
    for path in sorted(folder.glob("block-*.safetensors")):
        try:
            with safe_open(path, framework="pt") as handle:
                about = json.loads(handle.metadata()["refit"])
                tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, KeyError, TypeError, ValueError):
            break
        found.append(Refit(about["layer"], tensors, about["ridges"], about["errors"]))
    return found


def _path(folder: Path, layer: int) -> Path:
    return folder / f"block-{layer:05d}.safetensors"
