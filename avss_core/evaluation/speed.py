"""How fast and how large a model is: tokens a second, memory in use, parameters and bytes.

Models are measured in turn, round by round, in one process, so that what slows the machine slows them all; a
ratio is taken inside a round. Rates and ratios are geometric means over the rounds, so that a mean ratio
equals the ratio of the two mean rates.
"""

import ctypes
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import DynamicCache, PreTrainedModel

from avss_core.evaluation.speed_records import CheckpointSize, ModelSpeed, SpeedRatio, SpeedRatios
from avss_core.models.architectures import context_length, depth
from avss_core.models.placement import input_device, main_device
from avss_core.models.sizes import parameter_count
from avss_core.progress import Progress, no_progress

_RESET = "5"
"""Written to Linux's clear_refs, this resets the peak of resident memory to its present value."""


@dataclass(frozen=True)
class Workload:
    """What is timed."""

    prompt_tokens: int
    """Length of the prompt that is read (prefill)."""
    new_tokens: int
    """Tokens generated behind it, one at a time (decode)."""
    batch_sizes: tuple[int, ...]
    """Numbers of sequences that are decoded at a time."""
    rounds: int
    """Turns of each model, after one to warm up."""


@dataclass(frozen=True)
class Timing:
    """Tokens a second of one model, one value a round."""

    prefill: tuple[float, ...]
    decode: Mapping[int, tuple[float, ...]]
    """By batch size."""
    peak_bytes: int | None
    """Most memory in use beyond that before the model was loaded: weights, prompt and generation."""
    cache_bytes: int
    """Keys and values of one token."""

    def record(self) -> ModelSpeed:
        """Return the mean rates and the memory as JSON."""
        return {
            "prefill": rate(self.prefill),
            "decode": {str(size): rate(rounds) for size, rounds in self.decode.items()},
            "peak_bytes": self.peak_bytes,
            "cache_bytes": self.cache_bytes,
        }

    def ratios(self, base: "Timing") -> SpeedRatios:
        """Return how many times as fast this model is as the base."""
        return {
            "prefill": ratio(self.prefill, base.prefill),
            "decode": {str(size): ratio(rounds, base.decode[size]) for size, rounds in self.decode.items()},
        }


def measure_speed(
    loaders: Mapping[str, Callable[[], PreTrainedModel]],
    workload: Workload,
    *,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> dict[str, Timing]:
    """Return the timing of each model.

    Args:
        loaders: for each model, what loads it; all stay in memory until the end.
        workload: what is timed.
        device: where the models are loaded to.
        progress: called after each turn, `rounds` + 1 times a model.

    Raises:
        ValueError: prompt and new tokens do not fit a model's context, or the workload is empty.
    """
    _check_workload(workload)
    models: dict[str, PreTrainedModel] = {}
    peaks: dict[str, int | None] = {}
    turns: dict[str, list[tuple[float, dict[int, float], int]]] = {name: [] for name in loaders}
    for name, load in loaders.items():
        with peak_memory(device) as peak:
            models[name] = load()
            _check_room(name, models[name], workload)
            _turn(models[name], workload)  # also warms up: its times do not count
        peaks[name] = peak()
        progress(1)
    for _ in range(workload.rounds):
        for name, model in models.items():
            turns[name].append(_turn(model, workload))
            progress(1)
    return {
        name: Timing(
            tuple(prefill for prefill, _, _ in rounds),
            {size: tuple(decode[size] for _, decode, _ in rounds) for size in workload.batch_sizes},
            peaks[name],
            rounds[0][2],
        )
        for name, rounds in turns.items()
    }


def rate(rounds: Sequence[float]) -> float:
    """Return the geometric mean of the rounds' tokens a second.

    Example:
        >>> round(rate([1.0, 4.0]), 9)
        2.0
    """
    return statistics.geometric_mean(rounds)


def ratio(of: Sequence[float], to: Sequence[float]) -> SpeedRatio:
    """Return how many times as fast the first model is: the mean, the lowest and the highest round.

    Example:
        >>> {name: round(value, 9) for name, value in ratio([2.0, 8.0], [1.0, 1.0]).items()}
        {'value': 4.0, 'low': 2.0, 'high': 8.0}
    """
    ratios = [a / b for a, b in zip(of, to, strict=True)]
    return {"value": rate(of) / rate(to), "low": min(ratios), "high": max(ratios)}


def size_of(model: PreTrainedModel, folder: Path) -> CheckpointSize:
    """Return the size of a checkpoint."""
    return {
        "layers": depth(model.config),
        "parameters": parameter_count(model),
        "bytes": sum(path.stat().st_size for path in folder.glob("*.safetensors")),
    }


@contextmanager
def peak_memory(device: str = "cpu") -> Iterator[Callable[[], int | None]]:
    """Yield a function that returns, after the context, the peak memory beyond that in use before it (bytes).

    On a CUDA device it counts the memory of the allocator, elsewhere the process's resident memory: None if
    the system is not Linux or the process may not reset its own peak.
    """
    peak: int | None = None
    gc.collect()
    place = main_device(device)
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats(place)
        before = torch.cuda.memory_allocated(place)
        yield lambda: peak
        peak = torch.cuda.max_memory_allocated(place) - before
        return
    _give_back_freed()
    can_tell = _reset_peak()
    before = psutil.Process().memory_info().rss
    yield lambda: peak
    if can_tell:
        peak = max(0, _peak_resident() - before)


def _give_back_freed() -> None:
    """Return freed memory to the system if the C library can: else one model would reuse another's."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> bool:
    """Reset the peak of resident memory; return whether that was possible."""
    try:
        Path("/proc/self/clear_refs").write_text(_RESET)
    except OSError:
        return False
    return True


def _peak_resident() -> int:
    """Return the peak of this process's resident memory in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


@torch.inference_mode()
def _turn(model: PreTrainedModel, workload: Workload) -> tuple[float, dict[int, float], int]:
    """Return tokens a second of prefill and of decode by batch size, and the bytes of a token's cache."""
    generator = torch.Generator().manual_seed(0)
    words = int(model.get_input_embeddings().num_embeddings)  # type: ignore[arg-type]
    prompt = torch.randint(words, (1, workload.prompt_tokens), generator=generator).to(input_device(model))
    cache = DynamicCache(config=model.config)
    started = _now(model)
    run: Any = model
    logits = run(prompt, cache=cache, use_cache=True, logits_to_keep=1).logits
    prefill = workload.prompt_tokens / (_now(model) - started)
    held = sum(map(_bytes, cache.layers)) // workload.prompt_tokens
    decode = {}
    for size in workload.batch_sizes:
        mine = deepcopy(cache)
        mine.batch_repeat_interleave(size)
        token = logits[:, -1:].argmax(-1).repeat(size, 1)
        started = _now(model)
        for _ in range(workload.new_tokens):
            token = run(token, cache=mine, use_cache=True).logits[:, -1:].argmax(-1)
        decode[size] = size * workload.new_tokens / (_now(model) - started)
    return prefill, decode, held


def _bytes(layer: Any) -> int:
    """Return the bytes of the keys and values that one layer holds."""
    return int(layer.keys.nbytes + layer.values.nbytes)


def _now(model: PreTrainedModel) -> float:
    """Return the time in seconds once the model's device has finished its work."""
    if input_device(model).type == "cuda":
        torch.cuda.synchronize(input_device(model))
    return time.perf_counter()


def _check_workload(workload: Workload) -> None:
    """Raise ValueError if there is nothing to time."""
    numbers = [workload.prompt_tokens, workload.new_tokens, workload.rounds, *workload.batch_sizes]
    if min(numbers) < 1 or not workload.batch_sizes:
        raise ValueError(f"{workload}: every number must be at least 1, with at least one batch size")


def _check_room(name: str, model: PreTrainedModel, workload: Workload) -> None:
    """Raise ValueError if prompt and answer do not fit a model's context."""
    room = context_length(model.config)
    length = workload.prompt_tokens + workload.new_tokens
    if room is not None and length > room:
        raise ValueError(
            f"{name}: {workload.prompt_tokens} prompt tokens and {workload.new_tokens} new ones do not fit "
            f"its {room} positions; lower speed.prompt_tokens"
        )
