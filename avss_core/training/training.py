"""Train chosen layers with LoRA towards any objective: early stopping, resuming, an estimate of the time."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from avss_core.evaluation.speed import peak_memory
from avss_core.files.tensor_store import tensor_store
from avss_core.models.placement import share_weights
from avss_core.models.refusals import refuse_four_bit
from avss_core.models.room import freed_memory_kept
from avss_core.progress import Progress, no_progress
from avss_core.training.frozen_prefix import FrozenPrefix
from avss_core.training.history import Epoch, Step, Training
from avss_core.training.loop import Trainer
from avss_core.training.lora import adapter_tensors, merged, set_adapter_tensors, with_adapters
from avss_core.training.objectives import Example, Objective, Settings
from avss_core.training.processes import Processes


def train(
    model: PreTrainedModel,
    objective: Objective,
    layers: Sequence[int],
    settings: Settings,
    *,
    folder: Path | None = None,
    on_step: Callable[[Step], None] = lambda _step: None,
    on_epoch: Callable[[Epoch], None] = lambda _epoch: None,
    progress: Progress = no_progress,
) -> tuple[PreTrainedModel, Training]:
    """Return a merged model, trained on the chosen layers alone, and the record of its training.

    The given model stays as it was. Tensors outside the chosen layers are its own, shared with the result.
    With a folder, a stopped training resumes at its last checkpoint, on the CPU to the same bits as if it had
    not been stopped. Processes that were launched together share the batches of each step and end with the
    same model; the first one writes the checkpoints.

    Args:
        model: a causal language model or an encoder.
        objective: examples and the loss.
        layers: layers to train, numbered as in `model`.
        settings: sizes and rates.
        folder: where checkpoints go, and cached tensors that exceed `cache_bytes`.
        on_step: called after each step.
        on_epoch: called after each validation.
        progress: called with the number of sequences that have run through the frozen blocks.

    Raises:
        ValueError: there is no example or no layer, the model lacks a layer, a loss or a
            gradient is not a finite number, the folder holds another training's checkpoint, or a step has
            fewer batches than there are processes.
    """
    with peak_memory(str(model.device)) as peak, trainer(model, objective, layers, settings, folder) as loop:
        loop.prepare(progress)
        state = loop.run(on_step, on_epoch)
        adapted = loop.adapted
        if loop.processes.share_weights:
            adapted = with_adapters(model, layers, settings.rank)
        set_adapter_tensors(adapted, state.best or loop.adapters)
        result = merged(adapted)
    record = Training(
        tuple(state.epochs),
        tuple(state.steps),
        sum(tensor.numel() for tensor in loop.adapters.values()),
        sum(step.tokens for step in state.steps),
        state.seconds,
        peak(),
        dict(objective.skipped),
    )
    return result, record


@contextmanager
def trainer(
    model: PreTrainedModel,
    objective: Objective,
    layers: Sequence[int],
    settings: Settings,
    folder: Path | None = None,
) -> Iterator[Trainer]:
    """Yield a training that has not begun; afterwards its cache is removed and the generators are restored.

    Raises:
        ValueError: as `train`, before any work.
    """
    if not objective.train or not objective.validation or not layers:
        raise ValueError(
            f"training needs examples and layers, got {len(objective.train)} for training, "
            f"{len(objective.validation)} for validation and {len(layers)} layers"
            + "".join(f"; {count} skipped: {reason}" for reason, count in objective.skipped.items() if count)
        )
    devices = [model.device] if model.device.type == "cuda" else []
    refuse_four_bit(model.config, "trained")
    processes = Processes(cpu=model.device.type == "cpu")
    processes.refuse_too_many(settings.accumulate)
    if processes.share_weights and settings.batch_size == "auto":
        raise ValueError("processes that share the weights need a number as batch_size, not auto")
    cache = None if folder is None else folder / f"cache{processes.number or ''}"
    with (
        freed_memory_kept(model.device),
        torch.random.fork_rng(devices),
        tensor_store(cache, settings.cache_bytes) as store,
    ):
        torch.manual_seed(settings.seed)
        adapted = with_adapters(model, layers, settings.rank)
        if processes.share_weights:
            share_weights(adapted.get_base_model(), adapter_tensors(adapted).values())
        first = min(layers) if settings.frozen_prefix else 0
        run = FrozenPrefix(adapted.get_base_model(), first, store)
        yield Trainer(adapted, run, objective, layers, settings, store, folder, processes)


@dataclass(frozen=True)
class Estimate:
    """Expected duration of a training without an early stop, in seconds."""

    seconds: float
    prepare_seconds: float
    """Part of it that runs once: the frozen blocks, and a teacher whose logits are kept."""
    step_seconds: float
    """Duration of a step of mean length."""
    steps: int


def estimate(
    model: PreTrainedModel, objective: Objective, layers: Sequence[int], settings: Settings
) -> Estimate:
    """Return the expected duration of a training, measured on two steps and one validation batch.

    Each part is taken as proportional to its tokens. The model stays as it was.

    Raises:
        ValueError: as `train`.
    """
    with trainer(model, objective, layers, settings) as loop:
        groups = loop.groups(1)
        groups = [groups[0], groups[-1]]
        held_out = list(objective.validation[: loop.size])
        trial = [example for group in groups for batch in group for example in batch]
        prepare = _seconds(model, lambda: loop.prepare(examples=[*trial, *held_out]))
        loop.step(groups[0], 0)  # warms up
        step = _seconds(model, lambda: [loop.step(group, 0) for group in groups])
        judge = _seconds(model, lambda: loop.judge([held_out]))
        steps, validations = loop.steps, loop.validations
    learnt, judged = _tokens(objective.train), _tokens(objective.validation)
    once = prepare * (learnt + judged) / (_tokens(trial) + _tokens(held_out))
    stepping = settings.epochs * step * learnt / _tokens(trial)
    judging = validations * judge * judged / _tokens(held_out)
    return Estimate(once + stepping + judging, once, stepping / max(1, steps), steps)


def _seconds(model: PreTrainedModel, work: Callable[[], object]) -> float:
    """Return the seconds that some work takes, until the model's device has done it."""
    started = time.perf_counter()
    work()
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter() - started


def _tokens(examples: Sequence[Example]) -> int:
    """Return the tokens of all sequences."""
    return sum(len(ids) for example in examples for ids in example.sequences)
