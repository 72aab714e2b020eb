"""What a choice costs after a repair: as by hand, exact where a layer is linear, and the model as it was."""

import json

import pytest
import torch

from avss_core.caching.loaded_model import model_at
from avss_core.evaluation.perplexity import language_modelling
from avss_core.jobs.removal.costs import removal_cost
from avss_core.jobs.removal.repaired_costs import repaired_cost
from avss_core.models.batches import text_batches, token_stream
from avss_core.surgery.pruning import prune
from avss_core.surgery.repair.repair import repair
from avss_core.surgery.repair.small_repair import RIDGE
from tests.planted import linear_layer

MACHINE = {"dtype": "float32", "device": "cpu"}
FITTED = {"repair_tokens": 512, "repair_window": 32, "batch_size": 4}
HELD_OUT = {"skip": 600, "tokens": 256, "window": 64}
WORDS = [f"Line {i} says that {i * i} is the square of {i}, and {i % 7} is what is left." for i in range(60)]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(WORDS))
    return path


@pytest.fixture
def saved(tokenizer, tmp_path):
    """A function that writes a model with the tokenizer, and returns the folder."""

    def saved(model, name="planted"):
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    return saved


def measured(model, text, removed):
    return repaired_cost.fn(model, text, removed, **MACHINE, **FITTED, **HELD_OUT)


def test_the_cost_is_that_of_a_repaired_model_by_hand(checkpoint, text, tokenizer, tiny_llama):
    removed, kept = [2, 3], [0, 1, 4, 5]
    batches = text_batches(tokenizer, WORDS, tokens=512, window=32, batch_size=4)
    repaired, _ = repair(
        prune(tiny_llama, removed), tiny_llama, kept, batches, ridges=[RIDGE], attention=False
    )
    ids = token_stream(tokenizer, WORDS, 856)[600:]
    loss = language_modelling(repaired, ids, tokenizer.decode(ids), window=64)
    found = measured(checkpoint, text, removed)
    assert found["nll"] == pytest.approx(loss.nll_per_token, rel=1e-6)
    assert found["window_means"] == pytest.approx(list(loss.window_means), rel=1e-6)
    before = removal_cost.fn(checkpoint, text, removed, **MACHINE, **HELD_OUT)
    assert found["tokens"] == before["tokens"] == loss.tokens
    assert found["nll"] < before["nll"]


def test_the_cached_dense_model_stays_as_it_is_to_the_bit(checkpoint, text):
    network, _ = model_at(checkpoint, "float32", "cpu")
    parameters = dict(network.named_parameters())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = measured(checkpoint, text, [2, 3])
    again, _ = model_at(checkpoint, "float32", "cpu")
    assert again is network
    assert all(parameter is parameters[name] for name, parameter in network.named_parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert network.config.num_hidden_layers == 6
    assert measured(checkpoint, text, [2, 3]) == first


def test_a_planted_linear_layer_costs_nothing_after_the_repair(saved, tiny, text):
    dense = linear_layer(tiny)
    model = saved(dense)
    whole = removal_cost.fn(model, text, [], **MACHINE, **HELD_OUT)
    without = removal_cost.fn(model, text, [1], **MACHINE, **HELD_OUT)
    # A ridge of 1 damps: it closes the gap as far as it goes, and a small one closes it wholly.
    damped = measured(model, text, [1])
    assert damped["nll"] < whole["nll"] + 0.5 * (without["nll"] - whole["nll"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avss_core.surgery.repair.small_repair.RIDGE", 1e-9)
        exact = measured(model, text, [1])
    assert without["nll"] > whole["nll"] + 0.1
    assert exact["nll"] == pytest.approx(whole["nll"], abs=1e-4)


def test_planted_identity_layers_cost_nothing_with_and_without_a_repair(saved, tiny, text):
    dense = tiny("llama")
    with torch.no_grad():
        for layer in (2, 3):
            dense.model.layers[layer].self_attn.o_proj.weight.zero_()
            dense.model.layers[layer].mlp.down_proj.weight.zero_()
    model = saved(dense)
    whole = removal_cost.fn(model, text, [], **MACHINE, **HELD_OUT)
    assert measured(model, text, [2, 3]) == whole


def test_a_family_that_cannot_be_repaired_is_left_out_with_the_reason(saved, tiny, text):
    found = measured(saved(tiny("opt", do_layer_norm_before=False)), text, [1])
    assert set(found) == {"left_out"}
    assert found["left_out"].startswith("cannot repair a opt model: ")


def test_experts_are_left_out_with_the_reason(checkpoint, text, monkeypatch):
    network, _ = model_at(checkpoint, "float32", "cpu")
    planted = torch.nn.Module()
    monkeypatch.setattr(network.model.layers[4].mlp, "down_proj", planted)
    assert "layer 3 has no single projection mlp.down_proj" in measured(checkpoint, text, [2])["left_out"]
