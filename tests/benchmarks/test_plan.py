"""What the plan counts is what a tiny model takes and writes."""

import json
import sys
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from avss_core.models.architectures import depth
from avss_core.models.batches import windows
from avss_core.scores.traversal import layer_inputs
from avss_core.statistics.collection import collect_statistics
from avss_core.statistics.statistics import Thresholds
from benchmarks import plan

IDS = list(range(200))


def count(value: Any) -> int:
    """Return how many numbers a JSON value holds."""
    if isinstance(value, (dict, list)):
        return sum(map(count, value.values() if isinstance(value, dict) else value))
    return 1


@pytest.mark.parametrize("sites", [["output"], ["output", "update", "mlp"]])
def test_statistics_hold_so_many_numbers(tiny_llama: PreTrainedModel, sites: list[str]) -> None:
    batches = list(windows(IDS, 20, 3))
    found = collect_statistics(tiny_llama, batches, sites=sites, thresholds=Thresholds(1e-5, 0.1))
    records = [layer.record() for layer in found]
    assert count(records) == plan.statistics_numbers(6, len(sites), len(batches))
    assert len(json.dumps(records)) < 1.5 * plan.BYTES_A_NUMBER * count(records)


def test_the_cache_of_a_token_has_so_many_bytes(tiny_llama: PreTrainedModel) -> None:
    with torch.inference_mode():
        cache: Any = tiny_llama(torch.tensor([IDS[:10]]), use_cache=True).cache
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert held == 10 * plan.cache_bytes(tiny_llama.config, 4)


def test_what_every_layer_reads_has_so_many_bytes(tiny_llama: PreTrainedModel) -> None:
    inputs = layer_inputs(tiny_llama, IDS[:65], window=16)
    held = sum(state.nbytes for states in inputs.states.values() for state in states)
    assert held == plan.layer_input_bytes(6, 64, 32, 4)


def test_blocks_of_a_traversal_and_of_a_training(tiny_llama: PreTrainedModel) -> None:
    layers = depth(tiny_llama.config)
    assert plan.traversal_blocks(layers) == layers + sum(range(layers))
    first = sum(p.nbytes for name, p in tiny_llama.named_parameters() if ".layers.0." in name)
    assert plan.block_bytes(tiny_llama, [0, 1]) == 2 * first


def test_the_plan_has_a_line_for_each_need(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--layers", "2", "--hidden", "64", "--inner", "128", "--heads", "4", "--key-value-heads", "2"]
    monkeypatch.setattr(sys, "argv", ["plan", *small, "--vocabulary", "100", "--trained", "2"])
    plan.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 17
    assert "traversal: 3 blocks, 1.5 passes" in lines[11]
