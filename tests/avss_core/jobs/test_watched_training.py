import dataclasses
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from avss_core.jobs.watched_training import (
    estimate_text,
    forget,
    machine_metrics,
    run_training,
)
from avss_core.surgery.pruning import prune
from avss_core.training.healing import Distillation, HealingSettings
from avss_core.training.history import Step
from avss_core.training.training import Estimate
from tasks.history import curves as curves_module
from tasks.history.tracking import open_run, stage_run

SETTINGS = HealingSettings(
    epochs=2, learning_rate=0.01, batch_size=1, rank=2, patience=9, seed=0, validate_every=2
)
_DRAW = torch.Generator().manual_seed(5)
WINDOWS = [tuple(torch.randint(0, 256, (12,), generator=_DRAW).tolist()) for _ in range(4)]
STEPS, VALIDATIONS = 8, 4


@pytest.fixture(scope="module")
def models(tiny: Any) -> Any:
    teacher = tiny("llama", layers=3)
    return prune(teacher, [1]), teacher


@pytest.fixture
def heal(models: Any, tmp_path: Any) -> Any:
    """Run a training; its lines are kept."""
    student, teacher = models

    def run(settings: HealingSettings = SETTINGS, **options: Any) -> Any:
        run.lines = []
        objective = Distillation(student, teacher, WINDOWS, WINDOWS[:1], settings, [0, 2])
        known = {"resume": tmp_path / "training", "say": run.lines.append, "curves": curves_module.curves}
        known |= options
        return run_training("heal", student, objective, [0, 1], settings, **known)

    return run


def same(one: Any, other: Any) -> bool:
    state = other.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in one.state_dict().items())


class StoppedError(Exception):
    pass


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let a training die in a step, after its checkpoint if it wrote one."""
    from avss_core.jobs import watched_training as training

    def dying(watch: Any, step: Step) -> None:
        if step.step == number:
            raise StoppedError
        live(watch, step)

    live = training._Watch.step
    monkeypatch.setattr(training._Watch, "step", dying)


def test_the_record_holds_nothing_that_a_second_run_would_not(heal: Any, tmp_path: Any) -> None:
    first = heal()
    forget(tmp_path / "training")
    second = heal()
    assert first.record == second.record
    assert same(first.model, second.model)
    assert set(first.record) == {"history", "steps", "parameters", "tokens", "skipped"}
    assert len(first.record["steps"]) == STEPS
    assert [epoch["step"] for epoch in first.record["history"]] == [2, 4, 6, 8]
    assert first.record["tokens"] == 2 * 4 * 12
    assert set(first.machine) == {"seconds", "tokens_per_second", "peak_bytes"}
    assert first.machine["seconds"] > 0
    assert set(machine_metrics("heal", first.machine)) == {
        "heal.total.seconds", "heal.total.tokens_per_second", "heal.total.peak_bytes"
    }  # fmt: skip


def test_an_estimate_comes_first_and_each_validation_has_a_line(heal: Any) -> None:
    heal()
    lines = heal.lines
    assert lines[0].startswith("heal: about ")
    assert f" {STEPS} steps of " in lines[0]
    assert [line.split(",")[0] for line in lines[1:-1]] == [f"heal: step {n}" for n in (2, 4, 6, 8)]
    assert lines[-1].startswith("heal: 8 steps, 96 tokens in ")


def stop_in_the_middle(heal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a training behind that was stopped at its fifth step."""
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(StoppedError):
            heal()


def test_a_stopped_training_goes_on_to_the_same_bits(
    heal: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = heal(resume=tmp_path / "other")
    stop_in_the_middle(heal, monkeypatch)
    resumed = heal()
    assert heal.lines[0] == "heal: goes on where it was stopped"
    assert [line.split(",")[0] for line in heal.lines[1:-1]] == ["heal: step 6", "heal: step 8"]
    assert resumed.record == whole.record
    assert same(resumed.model, whole.model)


def test_another_parameter_starts_afresh_and_forgetting_removes_both(
    heal: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_in_the_middle(heal, monkeypatch)
    other = dataclasses.replace(SETTINGS, learning_rate=0.02)
    heal(other)
    assert heal.lines[0].startswith("heal: about ")
    assert len(list((tmp_path / "training").iterdir())) == 2
    forget(tmp_path / "training")
    assert not (tmp_path / "training").exists()
    forget(tmp_path / "training")


def test_a_damaged_checkpoint_is_said_and_the_training_starts_afresh(
    heal: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = heal(resume=tmp_path / "other")
    stop_in_the_middle(heal, monkeypatch)
    (path,) = (tmp_path / "training").rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-20] ^= 1  # in the last tensor
    path.write_bytes(content)
    afresh = heal()
    assert heal.lines[0].startswith(f"{path} is damaged and was removed: the training starts afresh (")
    assert heal.lines[1].startswith("heal: about ")
    assert afresh.record == whole.record
    assert same(afresh.model, whole.model)


def test_another_input_starts_afresh(heal: Any, tmp_path: Any) -> None:
    file = tmp_path / "weights"
    for content in ("one", "another"):
        file.write_text(content)
        heal(inputs=[file])
        assert heal.lines[0].startswith("heal: about ")
    heal(inputs=[file])
    assert heal.lines[0] == "heal: goes on where it was stopped"


def test_a_rate_that_leads_to_no_number_leaves_no_checkpoint(heal: Any, tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="lower the learning rate"):
        heal(dataclasses.replace(SETTINGS, learning_rate=1e30))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_curves_are_in_the_run_while_it_trains(
    heal: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'history.db'}")
    monkeypatch.setattr(curves_module, "_BATCH", 1)  # each point at once
    client = MlflowClient()

    def points(run: str, key: str) -> list[tuple[int, float]]:
        return sorted((point.step, point.value) for point in client.get_metric_history(run, key))

    seen: list[int] = []
    with stage_run(tmp_path, "heal", {}, "digest"):
        found = open_run()
        assert found is not None
        identifier = found[1]
        stop_at(monkeypatch, 5)
        with pytest.raises(StoppedError):
            heal(say=lambda _line: seen.append(len(points(identifier, "heal.train.loss"))))
        monkeypatch.undo()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'history.db'}")
    assert seen == [0, 2, 4]  # the estimate, then two validations
    assert open_run() is None
    with stage_run(tmp_path, "heal", {}, "digest"):
        found = open_run()
        assert found is not None
        trained = heal()
    whole = found[1]
    steps, history = trained.record["steps"], trained.record["history"]
    assert points(whole, "heal.train.loss") == [(step["step"], step["loss"]) for step in steps]
    assert points(whole, "heal.train.kl") == [(step["step"], step["terms"]["kl"]) for step in steps]
    for name in ("learning_rate", "gradient_norm"):
        assert points(whole, f"heal.{name}") == [(step["step"], step[name]) for step in steps]
    assert points(whole, "heal.validation.loss") == [(e["step"], e["validation_loss"]) for e in history]
    # Steps 1 to 4 ran before; the first one of a process also holds what runs once.
    assert [step for step, _ in points(whole, "heal.tokens_per_second")] == [6, 7, 8]


def test_an_estimate_in_words() -> None:
    assert estimate_text(Estimate(200.0, 60.0, 1.5, 80)) == (
        "about 3 min 20 s: 1 min once, 80 steps of 1.5 s, and validations"
    )
    assert estimate_text(Estimate(20.0, 0.1, 1.0, 20)) == "about 20 s: 20 steps of 1.0 s, and validations"
