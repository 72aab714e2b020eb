import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avss_core.evaluation import speed
from avss_core.evaluation.speed import Workload, measure_speed, peak_memory, rate, ratio, size_of
from avss_core.surgery.pruning import prune

WORK = Workload(prompt_tokens=20, new_tokens=6, batch_sizes=(1, 3), rounds=2)


def test_every_model_takes_its_turn_in_every_round(tiny_model, monkeypatch):
    models = {"dense": tiny_model, "pruned": prune(tiny_model, [1])}
    order = []

    def turn(model, workload):
        order.append(next(name for name, known in models.items() if known is model))
        return 10.0, dict.fromkeys(workload.batch_sizes, 2.0), 64

    monkeypatch.setattr(speed, "_turn", turn)
    done = []
    loaders = {name: lambda model=model: model for name, model in models.items()}
    found = measure_speed(loaders, WORK, progress=done.append)
    assert order == ["dense", "pruned"] * 3  # one to warm up, two that count
    assert sum(done) == 6
    assert found["dense"].prefill == (10.0, 10.0)
    assert found["pruned"].decode == {1: (2.0, 2.0), 3: (2.0, 2.0)}


def test_tokens_are_counted_by_the_clock(tiny_model, monkeypatch):
    # Every look at the clock is a second later: one second for each prefill and each decode.
    clock = itertools.count()
    monkeypatch.setattr(speed, "_now", lambda _model: float(next(clock)))
    found = measure_speed({"m": lambda: tiny_model}, WORK)["m"]
    assert found.prefill == (20.0, 20.0)
    assert found.decode == {1: (6.0, 6.0), 3: (18.0, 18.0)}


def test_a_pruned_model_keeps_fewer_keys_and_values(tiny_model):
    found = measure_speed({"dense": lambda: tiny_model, "pruned": lambda: prune(tiny_model, [1, 4])}, WORK)
    heads = getattr(tiny_model.config, "num_key_value_heads", tiny_model.config.num_attention_heads)
    # Layers, keys and values, heads, width of a head, bytes of a float32.
    assert found["dense"].cache_bytes == 6 * 2 * heads * 8 * 4
    assert found["pruned"].cache_bytes == found["dense"].cache_bytes * 4 // 6
    assert all(value > 0 for value in (*found["pruned"].prefill, *found["pruned"].decode[3]))


def test_peak_memory_sees_what_was_freed_again():
    with peak_memory() as peak:
        torch.ones(2**26).sum()  # 256 MiB
    if peak() is None:
        pytest.skip("this system does not tell a process's peak memory")
    assert peak() == pytest.approx(2**28, rel=0.1)


def test_peak_memory_is_unknown_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setattr(speed, "_reset_peak", lambda: False)
    with peak_memory() as peak:
        pass
    assert peak() is None


def test_a_ratio_is_taken_inside_each_round():
    found = ratio([2.0, 30.0], [1.0, 10.0])
    assert found == {"value": pytest.approx(6**0.5), "low": 2.0, "high": 3.0}


ROUNDS = st.lists(st.tuples(SPEEDS := st.floats(0.1, 1e5), SPEEDS), min_size=1, max_size=5)


@given(ROUNDS)
def test_a_ratio_never_says_another_thing_than_the_rates(rounds):
    fast, slow = zip(*rounds, strict=True)
    found = ratio(fast, slow)
    assert (found["value"] > 1) == (rate(fast) > rate(slow)) or found["value"] == pytest.approx(1)
    assert found["low"] * (1 - 1e-9) <= found["value"] <= found["high"] * (1 + 1e-9)


def test_size_counts_a_tied_head_once(tiny_llama, checkpoint):
    found = size_of(tiny_llama, checkpoint)
    assert found["layers"] == 6
    assert found["parameters"] == sum(parameter.numel() for parameter in tiny_llama.parameters())
    assert found["bytes"] == (checkpoint / "model.safetensors").stat().st_size


@pytest.mark.parametrize("field", ["prompt_tokens", "new_tokens", "rounds"])
def test_an_empty_workload_is_refused(field, tiny_llama):
    with pytest.raises(ValueError, match=f"{field}=0"):
        measure_speed({"m": lambda: tiny_llama}, replace(WORK, **{field: 0}))
    with pytest.raises(ValueError, match=r"batch_sizes=\(\)"):
        measure_speed({"m": lambda: tiny_llama}, replace(WORK, batch_sizes=()))


def test_a_prompt_past_the_context_is_refused_by_name(tiny_llama):
    with pytest.raises(ValueError, match=r"pruned: 120 prompt tokens and 9 new ones do not fit its 128"):
        measure_speed({"pruned": lambda: tiny_llama}, Workload(120, 9, (1,), 1))
