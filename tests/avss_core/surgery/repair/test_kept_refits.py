"""Finished blocks in a folder: what is written comes back, and a damaged file ends the row."""

import torch

from avss_core.surgery.repair.kept_refits import read_refits, write_refit
from avss_core.surgery.repair.refitting import Refit


def refit(layer: int) -> Refit:
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(layer)).T
    return Refit(
        layer, {f"layers.{layer}.down.weight": weight}, {"down": 0.5, "out": None}, {"down": 0.25, "out": 1.0}
    )


def test_what_is_written_comes_back_in_depth_order(tmp_path):
    for layer in (10, 2):
        write_refit(tmp_path, refit(layer))
    found = read_refits(tmp_path)
    assert [each.layer for each in found] == [2, 10]
    for each in found:
        wanted = refit(each.layer)
        assert (each.ridges, each.errors) == (wanted.ridges, wanted.errors)
        for name, tensor in wanted.tensors.items():
            assert torch.equal(each.tensors[name], tensor)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_block_in_which_nothing_changed_is_known_too(tmp_path):
    write_refit(tmp_path, Refit(3, {}, {"down": None}, {"down": 1.0}))
    assert read_refits(tmp_path)[0].tensors == {}


def test_from_a_damaged_file_on_blocks_are_made_anew(tmp_path):
    for layer in range(3):
        write_refit(tmp_path, refit(layer))
    (tmp_path / "block-00001.safetensors").write_bytes(b"cut off")
    assert [each.layer for each in read_refits(tmp_path)] == [0]
