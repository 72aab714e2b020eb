"""Two processes of the CPU train what one trains."""

import json

import pytest
import torch
from safetensors.torch import load_file

from avss_core.training.processes import Processes, leads
from tests.launches import launched

TRAINING = """
import json, sys
from dataclasses import asdict
from pathlib import Path

from accelerate import PartialState
from safetensors.torch import save_file

from avss_core.models.loading import load_model, load_tokenizer
from avss_core.training.healing import HealingSettings, distil
from avss_core.training.mitigation.mitigation import Contrastive, ContrastiveSettings
from avss_core.training.mitigation.pairs import Pair
from avss_core.training.training import train

dense, out, stop = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
place = PartialState(cpu=True)
model, tokenizer = load_model(dense), load_tokenizer(dense)
shared = {"learning_rate": 0.02, "patience": 5, "seed": 0, "rank": 2, "accumulate": 2}
windows = [tuple((7 * i + 3 * j) % 200 + 20 for j in range(12)) for i in range(7)]

class Stopped(Exception): pass

def on_step(step):
    if step.step == stop:
        raise Stopped

def healed():
    chosen = HealingSettings(epochs=2, batch_size=1, temperature=1.0, hidden=0.5, top_k=None,
                             checkpoint_every=1, answers=1.0, **shared)
    other = load_model(dense + "-other")
    return distil(model, other, windows[:5], windows[5:], chosen, layer_map=[0, 1, 2, 3], layers=[2, 3],
                  folder=out / "healing", on_step=on_step)

def mitigated():
    chosen = ContrastiveSettings(epochs=1, batch_size=2, alpha=1.0, beta=1.0, gamma=0.5, temperature=0.2,
                                 **shared)
    pairs = [Pair(f"{letter}?", letter * 2, "no") for letter in "abcde"]
    held_out = [Pair("f?", "ff", "no"), Pair("g?", "gg", "nope"), Pair("h?", "h", "nothing")]
    return train(model, Contrastive(tokenizer, pairs, held_out, [2, 3], chosen), [2, 3], chosen)

for name, work in {"healed": healed, "mitigated": mitigated}.items():
    try:
        merged, training = work()
    except Stopped:
        break
    record = asdict(training) | {"seconds": 0, "peak_bytes": 0}
    (out / f"{name}-{place.process_index}.json").write_text(json.dumps(record))
    state = {key: tensor.contiguous().clone() for key, tensor in merged.state_dict().items()}
    save_file(state, out / f"{name}-{place.process_index}.safetensors")
"""


ALONE = """
import torch
from torch import distributed
from avss_core.training.processes import Processes

place = Processes(cpu=True)
waits = distributed.group.WORLD._get_backend(torch.device("cpu")).options
print(place.once(lambda: ["made by", place.number]), waits._timeout.days, flush=True)

def fails():
    raise ValueError(f"process {place.number} has failed")

place.once(fails)
"""


@pytest.fixture(scope="module")
def trained(tiny, tokenizer, tmp_path_factory):
    """Run the trainings in some processes, and return their folder."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("dense", "dense-other"):
        tiny("llama", layers=4, seed=len(name)).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    (folder / "trainings.py").write_text(TRAINING, encoding="utf-8")

    def run(processes, out, stop=0, **options):
        out.mkdir(exist_ok=True)
        done = launched(processes, folder / "trainings.py", folder / "dense", out, stop, **options)
        assert done.returncode == 0, done.stderr[-3000:]
        return out

    return run


@pytest.fixture(scope="module")
def alone(trained, tmp_path_factory):
    return trained(1, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def shared(trained, tmp_path_factory):
    """Two processes, stopped after the second step and started again."""
    out = tmp_path_factory.mktemp("shared")
    trained(2, out, stop=2)
    assert not list(out.glob("*.json"))
    return trained(2, out)


@pytest.fixture(scope="module")
def parted(trained, tmp_path_factory):
    """Two processes with a part of the weights each, stopped and started again."""
    out = tmp_path_factory.mktemp("parted")
    trained(2, out, stop=2, share_weights=True)
    assert not list(out.glob("*.json"))
    return trained(2, out, share_weights=True)


@pytest.fixture(params=["shared", "parted"])
def two(request):
    """The folder of two processes with all weights, and with a part of them, each."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("name", ["healed", "mitigated"])
def test_two_processes_train_what_one_trains(alone, two, name):
    one, first, other = (
        json.loads((folder / f"{name}-{place}.json").read_text(encoding="utf-8"))
        for folder, place in ((alone, 0), (two, 0), (two, 1))
    )
    assert first == other
    assert len(first["steps"]) == len(one["steps"])
    for mine, theirs in zip(first["steps"], one["steps"], strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], abs=1e-3)
        assert mine["gradient_norm"] == pytest.approx(theirs["gradient_norm"], rel=1e-3)
        for key in ("step", "samples", "tokens", "weight", "learning_rate"):
            assert mine[key] == theirs[key]
    for mine, theirs in zip(first["epochs"], one["epochs"], strict=True):
        assert mine["validation_loss"] == pytest.approx(theirs["validation_loss"], abs=1e-3)
    assert one["epochs"][0]["validation_loss"] != one["steps"][0]["loss"]


@pytest.mark.parametrize("name", ["healed", "mitigated"])
def test_every_process_ends_with_the_same_model(alone, two, name):
    one, first, other = (
        load_file(folder / f"{name}-{place}.safetensors")
        for folder, place in ((alone, 0), (two, 0), (two, 1))
    )
    assert all(torch.equal(tensor, other[key]) for key, tensor in first.items())
    assert all(torch.allclose(tensor, first[key], atol=1e-4) for key, tensor in one.items())


def test_what_one_does_alone_all_have_and_its_failure_is_told_once(tmp_path):
    (tmp_path / "alone.py").write_text(ALONE, encoding="utf-8")
    done = launched(2, tmp_path / "alone.py")
    assert done.returncode != 0
    # The others wait for an evaluation, which may take days.
    assert sorted(done.stdout.splitlines()) == ["['made by', 0] 30"] * 2
    assert done.stderr.count("ValueError: process ") == done.stderr.count("process 0 has failed") == 1
    assert "Connection closed" not in done.stderr


def test_one_process_alone_does_all_the_work():
    place = Processes()
    assert (place.number, place.count, leads()) == (0, 1, True)
    assert place.once(lambda: "made") == "made"
    assert list(place.own([1, 2, 3])) == place.gathered([1, 2, 3]) == [1, 2, 3]
    place.refuse_too_many(1)


def test_a_step_with_fewer_batches_than_processes_is_refused():
    place = Processes()
    place.count = 3
    assert list(place.own([0, 1, 2, 3, 4])) == [0, 3]
    place.refuse_too_many(3)
    with pytest.raises(
        ValueError, match="3 processes share the batches of a step, and a step has 2: set accumulate to 3"
    ):
        place.refuse_too_many(2)
