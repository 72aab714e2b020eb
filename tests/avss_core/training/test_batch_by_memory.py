"""With batch_size auto memory decides how many windows go at a time, and the steps stay the same."""

import pytest
import torch

from avss_core.models import room
from avss_core.training.healing import HealingSettings, distil

WINDOWS = [tuple((7 * i + 3 * j) % 200 + 20 for j in range(8 + i)) for i in range(8)]


@pytest.mark.parametrize("most", [100, 2])
def test_the_steps_are_those_of_single_windows(tiny, monkeypatch, most):
    monkeypatch.setattr(room, "free_bytes", lambda _device: 10**15)
    pruned, dense, rows = tiny("llama", layers=3), tiny("llama", layers=4, seed=1), []
    shared = {
        "epochs": 1, "learning_rate": 0.02, "patience": 5, "seed": 0, "rank": 2, "accumulate": 4,
        "temperature": 1.0, "hidden": 0.0, "top_k": None, "answers": 1.0,
    }  # fmt: skip

    def ask(_block, inputs):
        rows.append(len(inputs[0]))
        if torch.is_grad_enabled() and len(inputs[0]) > most:
            torch.empty(2**60, dtype=torch.uint8)

    def run(size):
        rows.clear()
        chosen = HealingSettings(batch_size=size, **shared)
        return distil(pruned, dense, WINDOWS[:6], WINDOWS[6:], chosen, layer_map=[0, 1, 3])[1]

    pruned.model.layers[0].register_forward_pre_hook(ask)
    one = run(1)
    assert max(rows) == 1
    auto = run("auto")
    assert max(rows) == 4
    assert len(auto.steps) == len(one.steps) == 2
    for mine, theirs in zip(auto.steps, one.steps, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, abs=1e-5)
        assert (mine.tokens, mine.samples, mine.weight) == (theirs.tokens, theirs.samples, theirs.weight)
    assert auto.epochs[-1].validation_loss == pytest.approx(one.epochs[-1].validation_loss, abs=1e-5)
