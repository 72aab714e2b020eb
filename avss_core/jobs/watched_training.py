"""Run a training with an estimate, a bar, live curves, and a folder to resume from."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from transformers import PreTrainedModel

from avss_core.caching.content import content_digest
from avss_core.caching.fingerprints import fingerprint as code_fingerprint
from avss_core.display.steps import progress
from avss_core.display.timing import duration_text
from avss_core.files.digests import digest_json
from avss_core.training.history import Epoch, Step, Training, TrainingCourse
from avss_core.training.objectives import Objective, Settings
from avss_core.training.state import FILE, fingerprint, read_state
from avss_core.training.training import Estimate, estimate, train

Say = Callable[[str], None]
"""Called with the estimate and with a line for each validation."""


@runtime_checkable
class CurveWriter(Protocol):
    """Takes the points of curves while a training runs."""

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Add one point to each curve."""


Curves = Callable[[str], AbstractContextManager[CurveWriter]]
"""Opens the curves of a name; they end with the context."""


class _NoCurves:
    """Curves that nobody draws."""

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Drop a point."""


def no_curves(_name: str) -> AbstractContextManager[CurveWriter]:
    """Draw nothing."""
    return nullcontext(_NoCurves())


@dataclass(frozen=True)
class Trained:
    """A trained model, the record of its training, and its times and memory."""

    model: PreTrainedModel
    record: TrainingCourse
    machine: dict[str, float | None]
    """seconds, tokens_per_second and peak_bytes, which differ in every run: for MLflow and the log only."""


def run_training(
    name: str,
    model: PreTrainedModel,
    objective: Objective,
    layers: Sequence[int],
    settings: Settings,
    *,
    resume: Path,
    inputs: Sequence[Path] = (),
    say: Say,
    curves: Curves = no_curves,
) -> Trained:
    """Run `avss_core.training.training.train` with curves and a bar.

    Each step's loss, terms, learning rate, gradient norm and tokens a second, and each validation's losses,
    go to the curves `name.*` by step. A stopped training resumes at its last checkpoint;
    one with other inputs or code, or whose checkpoint is damaged, starts at the beginning.

    Args:
        name: name of the curves, the bar and the lines, such as "heal".
        model: a causal language model; stays as it was.
        objective: examples and the loss.
        layers: layers to train, numbered as in `model`.
        settings: sizes and rates.
        resume: folder of the checkpoints of this stage; `forget` it when the stage's files are written.
        inputs: checkpoint folders that the training depends on.
        say: called with each line.
        curves: opens the curves.

    Raises:
        ValueError: as `train`.
    """
    folder = resume / _digest(model, objective, layers, settings, inputs)
    if _can_go_on(folder / FILE, say):
        say(f"{name}: goes on where it was stopped")
    else:
        say(f"{name}: {estimate_text(estimate(model, objective, layers, settings))}")
    frozen = _frozen(objective) if settings.frozen_prefix and min(layers) else 0
    total = settings.epochs * len(objective.train)
    with (
        curves(name) as written,
        progress(f"{name}: training", total, "examples") as advance,
        progress(f"{name}: frozen layers, once", frozen, "sequences") as run,
    ):
        watch = _Watch(name, written, advance, say)
        result, training = train(
            model,
            objective,
            layers,
            settings,
            folder=folder,
            on_step=watch.step,
            on_epoch=watch.epoch,
            progress=run,
        )
        watch.catch_up(training)
    say(
        f"{name}: {len(training.steps)} steps, {training.tokens:,} tokens in "
        f"{duration_text(training.seconds)} ({training.tokens_per_second:.0f} tokens/s)"
        + ("" if training.peak_bytes is None else f", {training.peak_bytes / 1e6:,.0f} MB above the model")
    )
    machine = {
        "seconds": training.seconds,
        "tokens_per_second": training.tokens_per_second,
        "peak_bytes": training.peak_bytes,
    }
    return Trained(result, training.record, machine)


def forget(resume: Path) -> None:
    """Remove all checkpoints of a stage's trainings."""
    shutil.rmtree(resume, ignore_errors=True)


def machine_metrics(name: str, machine: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return times and memory by their names in MLflow, which differ from those of curves."""
    return {f"{name}.total.{key}": value for key, value in machine.items()}


def estimate_text(expected: Estimate) -> str:
    """Return an estimate in words."""
    once = f"{duration_text(expected.prepare_seconds)} once, " if expected.prepare_seconds >= 0.5 else ""
    return (
        f"about {duration_text(expected.seconds)}: {once}{expected.steps} steps of "
        f"{duration_text(expected.step_seconds)}, and validations"
    )


def _digest(
    model: PreTrainedModel,
    objective: Objective,
    layers: Sequence[int],
    settings: Settings,
    inputs: Sequence[Path],
) -> str:
    """Return a short digest of what a training depends on: data, parameters, models and code."""
    known = [
        fingerprint(model, objective, sorted(layers), settings),
        [content_digest(path) for path in inputs],
        code_fingerprint(type(objective).__module__),
        code_fingerprint("avss_core.training.training"),
    ]
    return digest_json(known)[:16]


def _can_go_on(path: Path, say: Say) -> bool:
    """Return whether there is a checkpoint to resume from; a damaged one is removed, with a line."""
    if not path.is_file():
        return False
    try:
        read_state(path)
    except ValueError as error:
        say(f"{path} is damaged and was removed: the training starts afresh ({error.__cause__})")
        path.unlink(missing_ok=True)
        return False
    return True


def _frozen(objective: Objective) -> int:
    """Return the number of distinct sequences, which run through the frozen layers once."""
    examples = [*objective.train, *objective.validation]
    return len({ids for example in examples for ids in example.sequences})


class _Watch:
    """Writes the curves, the bar and the lines of a running training."""

    def __init__(self, name: str, written: CurveWriter, advance: Callable[[int], None], say: Say) -> None:
        self.name, self.written, self.advance, self.say = name, written, advance, say
        self.first: int | None = None
        """First step of this process; its time includes all that runs once."""
        self.tokens = 0
        """Tokens of the steps after it."""
        self.started = self.before = 0.0

    def step(self, step: Step) -> None:
        """Add a step to the curves; its tokens a second count the time of a validation after it."""
        now, values = time.perf_counter(), _step_values(step)
        if self.first is None:
            self.first, self.started = step.step, now
        else:
            self.tokens += step.tokens
            values["tokens_per_second"] = step.tokens / (now - self.before)
        self.before = now
        self.written.add(values, step.step)
        self.advance(step.samples)

    def epoch(self, epoch: Epoch) -> None:
        """Add a validation to the curves, with a line of its losses."""
        self.written.add(_epoch_values(epoch), epoch.step)
        preferred = epoch.validation_preference
        share = "" if preferred is None else f", accepted answer preferred in {100 * preferred:.0f} %"
        passed = time.perf_counter() - self.started
        speed = f" ({self.tokens / passed:.0f} tokens/s)" if self.tokens else ""
        self.say(
            f"{self.name}: step {epoch.step}, train loss {epoch.train_loss:.3f}, validation loss "
            f"{epoch.validation_loss:.3f}{share}{speed}"
        )

    def catch_up(self, training: Training) -> None:
        """Add the steps of stopped runs, so that the curves are complete."""
        first = len(training.steps) + 1 if self.first is None else self.first
        for step in training.steps[: first - 1]:
            self.written.add(_step_values(step), step.step)
        for epoch in training.epochs:
            if epoch.step < first:
                self.written.add(_epoch_values(epoch), epoch.step)


def _step_values(step: Step) -> dict[str, float]:
    """Return the values of a step by curve."""
    terms = {f"train.{name}": value for name, value in step.terms.items()}
    known = {"learning_rate": step.learning_rate, "gradient_norm": step.gradient_norm}
    return {"train.loss": step.loss, **terms, **known}


def _epoch_values(epoch: Epoch) -> dict[str, float]:
    """Return the values of a validation by curve."""
    terms = {f"validation.{name}": value for name, value in epoch.validation_terms.items()}
    return {"validation.loss": epoch.validation_loss, **terms}
