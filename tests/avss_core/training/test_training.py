import dataclasses
import math
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from avss_core.models.architectures import blocks
from avss_core.training.history import Epoch, Step, Training, best_epoch, mean_terms
from avss_core.training.mitigation.mitigation import Contrastive, ContrastiveSettings
from avss_core.training.mitigation.pairs import Pair
from avss_core.training.objectives import share_of_rate
from avss_core.training.state import FILE
from avss_core.training.training import estimate, train, trainer

SETTINGS = ContrastiveSettings(
    epochs=3, learning_rate=0.02, batch_size=2, rank=2, patience=5, seed=0,
    alpha=1.0, beta=1.0, gamma=0.5, temperature=0.2, checkpoint_every=1,
)  # fmt: skip
TRAIN = [Pair(f"{letter}?", letter * 2, "no") for letter in "abcde"]
VALIDATION = [Pair("f?", "ff", "no"), Pair("g?", "gg", "nope"), Pair("h?", "h", "nothing")]
LAYERS = [2, 3]
STEPS = 9  # three batches an epoch


class KilledError(Exception):
    """Stands for the end of the process."""


def settings(**changes: Any) -> ContrastiveSettings:
    return dataclasses.replace(SETTINGS, **changes)


def fit(model: Any, tokenizer: Any, chosen: ContrastiveSettings = SETTINGS, **options: Any) -> Any:
    objective = Contrastive(tokenizer, TRAIN, VALIDATION, LAYERS, chosen)
    return train(model, objective, LAYERS, chosen, **options)


def killed_at(model: Any, tokenizer: Any, folder: Path, step: int, chosen: Any = SETTINGS) -> None:
    def kill(record: Step) -> None:
        if record.step == step:
            raise KilledError

    with pytest.raises(KilledError):
        fit(model, tokenizer, chosen, folder=folder, on_step=kill)


def same_bits(one: Any, other: Any) -> bool:
    state = other.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


def timeless(training: Any) -> Any:
    return dataclasses.replace(training, seconds=0.0, peak_bytes=None)


@pytest.fixture(scope="module")
def undisturbed(tiny_llama: Any, tokenizer: Any) -> Any:
    return fit(tiny_llama, tokenizer)


@pytest.mark.parametrize("steps", [(1,), (3,), (4, 8), (9,)], ids=str)
def test_a_training_that_was_stopped_ends_with_the_same_bits(
    steps: tuple[int, ...], undisturbed: Any, tiny_llama: Any, tokenizer: Any, tmp_path: Path
) -> None:
    for step in steps:
        killed_at(tiny_llama, tokenizer, tmp_path, step)
    told: list[int] = []
    merged, training = fit(
        tiny_llama, tokenizer, folder=tmp_path, on_step=lambda step: told.append(step.step)
    )
    assert told == list(range(steps[-1] + 1, STEPS + 1))
    assert same_bits(merged, undisturbed[0])
    assert timeless(training) == timeless(undisturbed[1])
    assert not (tmp_path / "cache").exists()


def test_checkpoints_are_sparse_where_asked_and_steps_since_are_done_again(
    undisturbed: Any, tiny_llama: Any, tokenizer: Any, tmp_path: Path
) -> None:
    seldom = settings(checkpoint_every=None, cache_bytes=0)
    killed_at(tiny_llama, tokenizer, tmp_path, 5, seldom)
    told: list[int] = []
    merged, _ = fit(tiny_llama, tokenizer, seldom, folder=tmp_path, on_step=lambda s: told.append(s.step))
    assert told[0] == 4  # the first after the epoch's end
    assert same_bits(merged, undisturbed[0])


def test_a_finished_training_is_not_done_again(
    undisturbed: Any, tiny_llama: Any, tokenizer: Any, tmp_path: Path
) -> None:
    fit(tiny_llama, tokenizer, folder=tmp_path)
    merged, training = fit(tiny_llama, tokenizer, folder=tmp_path, on_step=lambda _: pytest.fail("a step"))
    assert same_bits(merged, undisturbed[0])
    assert timeless(training) == timeless(undisturbed[1])


def kill(step: Step) -> None:
    if step.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_can_go_on(
    undisturbed: Any, tiny_llama: Any, tokenizer: Any, tmp_path: Path
) -> None:
    child = multiprocessing.get_context("fork").Process(
        target=fit, args=(tiny_llama, tokenizer), kwargs={"folder": tmp_path, "on_step": kill}
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert (tmp_path / FILE).exists()
    told: list[int] = []
    merged, _ = fit(tiny_llama, tokenizer, folder=tmp_path, on_step=lambda step: told.append(step.step))
    assert told == [6, 7, 8, 9]
    assert same_bits(merged, undisturbed[0])
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize(
    ("changes", "train_pairs", "layers", "named"),
    [
        ({"learning_rate": 0.01}, TRAIN, LAYERS, "settings"),
        ({}, TRAIN[::-1], LAYERS, "examples"),
        ({}, TRAIN, [2], "layers"),
    ],
)
def test_another_training_does_not_go_on_from_there(
    changes: Any, train_pairs: Any, layers: Any, named: str, tiny_llama: Any, tokenizer: Any, tmp_path: Path
) -> None:
    killed_at(tiny_llama, tokenizer, tmp_path, 1)
    chosen = settings(**changes)
    objective = Contrastive(tokenizer, train_pairs, VALIDATION, layers, chosen)
    with pytest.raises(ValueError, match=f"belongs to a training with other {named}; remove it"):
        train(tiny_llama, objective, layers, chosen, folder=tmp_path)
    assert (tmp_path / FILE).exists()


def test_another_model_does_not_go_on_from_there(
    tiny_llama: Any, tiny: Any, tokenizer: Any, tmp_path: Path
) -> None:
    killed_at(tiny_llama, tokenizer, tmp_path, 1)
    other = tiny("llama")
    blocks(other)[2].mlp.up_proj.weight.data[0, 0] += 1
    with pytest.raises(ValueError, match="belongs to a training with other model"):
        fit(other, tokenizer, folder=tmp_path)


def test_a_damaged_checkpoint_is_named(tiny_llama: Any, tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not this")
    with pytest.raises(ValueError, match=rf"{FILE} is damaged .*; remove it to train from the start"):
        fit(tiny_llama, tokenizer, folder=tmp_path)


def test_a_checkpoint_with_a_changed_number_is_damaged(
    tiny_llama: Any, tokenizer: Any, tmp_path: Path
) -> None:
    killed_at(tiny_llama, tokenizer, tmp_path, 4)
    whole = (tmp_path / FILE).read_bytes()
    for changed in (
        whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:],  # in the last tensor
        whole.replace(rb"\"finished\": false", rb"\"finished\":  true"),
        whole[:-1],
    ):
        assert changed != whole
        (tmp_path / FILE).write_bytes(changed)
        with pytest.raises(ValueError, match="is damaged"):
            fit(tiny_llama, tokenizer, folder=tmp_path)


def test_a_checkpoint_is_no_pickle(tiny_llama: Any, tokenizer: Any, tmp_path: Path) -> None:
    killed_at(tiny_llama, tokenizer, tmp_path, 4)
    kinds = {name.split("/")[0] for name in load_file(tmp_path / FILE)}
    assert kinds == {"adapter", "best", "optimizer", "random"}


def test_no_checkpoint_is_left_of_a_training_that_breaks(
    tiny_llama: Any, tokenizer: Any, tmp_path: Path
) -> None:
    wild = settings(learning_rate=1e30, schedule="constant")
    with pytest.raises(ValueError, match=r"of step 2 is (nan|inf) at a learning rate of 1e\+30"):
        fit(tiny_llama, tokenizer, wild, folder=tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_a_gradient_that_is_not_finite_stops_the_training(
    tiny_llama: Any, tokenizer: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_, **__: torch.tensor(math.inf))
    with pytest.raises(ValueError, match="the training gradient's norm of step 1 is inf"):
        fit(tiny_llama, tokenizer)


def test_accumulated_batches_are_one_large_batch(tiny_llama: Any, tokenizer: Any) -> None:
    # Without InfoNCE, whose candidates are those of a batch. Five pairs: the last batch is smaller.
    plain = {"gamma": 0.0, "epochs": 2, "checkpoint_every": None}
    one, large = fit(tiny_llama, tokenizer, settings(**plain, batch_size=5))
    other, small = fit(tiny_llama, tokenizer, settings(**plain, batch_size=2, accumulate=3))
    assert len(large.steps) == len(small.steps) == 2
    for a, b in zip(large.steps, small.steps, strict=True):
        assert (a.samples, a.tokens) == (b.samples, b.tokens)
        assert a.loss == pytest.approx(b.loss, abs=1e-5)
        assert a.gradient_norm == pytest.approx(b.gradient_norm, rel=1e-3)
    # AdamW's first steps are of the gradient's sign: where it is near 0, rounding shows.
    assert large.epochs[-1].validation_loss == pytest.approx(small.epochs[-1].validation_loss, abs=0.02)
    del one, other


def test_with_and_without_the_frozen_prefix_the_curves_agree(
    undisturbed: Any, tiny_llama: Any, tokenizer: Any
) -> None:
    _, whole = fit(tiny_llama, tokenizer, settings(frozen_prefix=False))
    for a, b in zip(undisturbed[1].steps[:4], whole.steps[:4], strict=True):
        assert a.loss == pytest.approx(b.loss, abs=1e-4)


def test_a_device_without_bfloat16_computes_in_float32(
    tiny_llama: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    capabilities = {"architecture": "x86_64", "avx2": True, "avx512_bf16": False, "amx_bf16": False}
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: capabilities)
    _, asked = fit(tiny_llama, tokenizer, settings(autocast=True, epochs=1))
    _, full = fit(tiny_llama, tokenizer, settings(epochs=1))
    assert asked.steps[0].loss == full.steps[0].loss


def test_bfloat16_is_used_where_asked_and_weights_stay_in_float32(
    tiny_llama: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True})
    merged, low = fit(tiny_llama, tokenizer, settings(autocast=True, epochs=1))
    _, full = fit(tiny_llama, tokenizer, settings(epochs=1))
    assert low.steps[0].loss != full.steps[0].loss
    assert low.steps[0].loss == pytest.approx(full.steps[0].loss, rel=0.02)
    assert {tensor.dtype for tensor in merged.state_dict().values()} == {torch.float32}


def test_a_users_own_accelerator_works_on_as_before(tiny_llama: Any, tokenizer: Any) -> None:
    def product(one: Accelerator) -> torch.dtype:
        with one.autocast():
            return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    AcceleratorState._reset_state(reset_partial_state=True)
    own = Accelerator(cpu=True, mixed_precision="bf16")
    seen: set[torch.dtype] = set()
    _, plain = fit(tiny_llama, tokenizer, settings(epochs=1), on_step=lambda _: seen.add(product(own)))
    assert seen == {torch.bfloat16}
    assert own.state.mixed_precision == "bf16"
    AcceleratorState._reset_state(reset_partial_state=True)
    assert plain.steps == fit(tiny_llama, tokenizer, settings(epochs=1))[1].steps


def test_a_validation_can_come_every_few_steps(tiny_llama: Any, tokenizer: Any) -> None:
    told: list[Epoch] = []
    _, training = fit(tiny_llama, tokenizer, settings(validate_every=2, epochs=2), on_epoch=told.append)
    assert [(epoch.epoch, epoch.step) for epoch in told] == [(1, 2), (1, 3), (2, 4), (2, 6)]
    assert tuple(told) == training.epochs
    steps = training.steps[4:6]
    weighed = sum(step.loss * step.samples for step in steps) / sum(step.samples for step in steps)
    assert told[-1].train_loss == pytest.approx(weighed)
    assert training.best == min(told, key=lambda epoch: epoch.validation_loss)
    assert Epoch(**best_epoch(training.record["history"])) == training.best


def test_the_first_of_equally_good_validations_is_the_best() -> None:
    epochs = tuple(Epoch(place, 1.0, loss) for place, loss in enumerate((3.0, 2.0, 2.0, 4.0), 1))
    training = Training(epochs, (), 0, 0, 0.0, None, {})
    assert training.best == epochs[1]
    assert best_epoch(training.record["history"])["epoch"] == 2
    assert dataclasses.replace(training, epochs=()).best is None


def test_the_record_says_what_the_training_was(undisturbed: Any, tiny_llama: Any, tokenizer: Any) -> None:
    _, training = undisturbed
    objective = Contrastive(tokenizer, TRAIN, VALIDATION, LAYERS, SETTINGS)
    tokens = sum(len(ids) for pair in objective.train for ids in pair.sequences)
    assert training.tokens == 3 * tokens
    assert training.parameters == 2 * len(LAYERS) * 512  # rank x layers x inputs and outputs
    assert training.seconds > 0
    assert training.tokens_per_second == pytest.approx(training.tokens / training.seconds)
    assert training.peak_bytes is None or training.peak_bytes >= 0
    assert training.skipped == {}


def test_the_gradient_is_clipped(tiny_llama: Any, tokenizer: Any) -> None:
    seen: list[float] = []
    objective = Contrastive(tokenizer, TRAIN, VALIDATION, LAYERS, settings(clip=0.01))
    with trainer(tiny_llama, objective, LAYERS, settings(clip=0.01)) as loop:
        loop.prepare()
        record = loop.step(loop.groups(1)[0], 0)
        seen = [float(t.grad.norm()) for t in loop.adapters.values()]
    assert record.gradient_norm > 0.01
    assert math.hypot(*seen) == pytest.approx(0.01, rel=1e-3)


def test_an_epoch_takes_every_pair_once_and_puts_similar_lengths_together(
    tiny_llama: Any, tokenizer: Any
) -> None:
    pairs = [Pair(f"{letter}?", letter * (1 + 30 * (letter in "bdf")), "no") for letter in "abcdef"]
    chosen = settings(batch_size=3)
    objective = Contrastive(tokenizer, pairs, VALIDATION, [0], chosen)
    with trainer(tiny_llama, objective, [0], chosen) as loop:
        orders = []
        for epoch in range(1, 7):
            batches = [["".join(sorted(p.accepted))[0] for p in batch] for (batch,) in loop.groups(epoch)]
            assert sorted("".join(sorted(batch)) for batch in batches) == ["ace", "bdf"]
            orders.append(str(batches))
        assert len(set(orders)) > 2
        assert loop.groups(2) == loop.groups(2)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("cosine", [0.25, 0.5, 0.75, *(0.5 * (1 + math.cos(share * math.pi)) for share in (0.3, 0.4))]),
        ("linear", [0.25, 0.5, 0.75, 0.7, 0.6]),
        ("constant", [0.25, 0.5, 0.75, 1.0, 1.0]),
    ],
)
def test_the_learning_rate_rises_and_falls(schedule: Any, expected: list[float]) -> None:
    chosen = settings(schedule=schedule, warm_up=0.4)
    assert [share_of_rate(chosen, step, 10) for step in range(5)] == pytest.approx(expected)
    assert all(0 <= share_of_rate(chosen, step, 10) <= 1 for step in range(12))


def test_means_of_terms_are_weighted() -> None:
    assert mean_terms([(1.0, {"a": 3.0, "b": 1.0}), (3.0, {"a": 1.0, "b": 1.0})]) == {"a": 1.5, "b": 1.0}
    assert mean_terms([]) == {}


def test_an_estimate_is_of_the_size_of_the_training(tiny_llama: Any, tokenizer: Any) -> None:
    before = {name: tensor.clone() for name, tensor in tiny_llama.state_dict().items()}
    objective = Contrastive(tokenizer, TRAIN, VALIDATION, LAYERS, SETTINGS)
    found = estimate(tiny_llama, objective, LAYERS, SETTINGS)
    _, training = fit(tiny_llama, tokenizer)
    assert found.steps == STEPS
    assert found.seconds == pytest.approx(training.seconds + found.prepare_seconds, rel=3)
    assert 0 < found.step_seconds * STEPS < found.seconds
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_llama.state_dict().items())
