"""Batch sizes by memory; the CPU's own is too small where more is asked for than any machine has."""

import logging
import platform
import resource
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import psutil
import pytest
import torch

from avss_core.models import room
from avss_core.models.architectures import blocks
from avss_core.models.room import FittingBatches, batch_size_of, freed_memory_kept, sequence_bytes, with_room


@contextmanager
def narrow(model, most):
    """Let a model ask for too much memory for more than so many rows; yields the rows of each pass."""
    rows = []

    def ask(_block, inputs):
        rows.append(len(inputs[0]))
        if len(inputs[0]) > most:
            torch.empty(2**60, dtype=torch.uint8)

    hook = blocks(model)[0].register_forward_pre_hook(ask)
    try:
        yield rows
    finally:
        hook.remove()
        room._HALVED.pop(model, None)


def test_auto_follows_the_free_memory(tiny_llama, monkeypatch):
    assert batch_size_of(tiny_llama, 5, 100) == 5
    one = sequence_bytes(tiny_llama, 100)
    for free, expected in ((0, 1), (2 * one, 1), (20 * one, 10), (10**12 * one, 32)):
        monkeypatch.setattr(room, "free_bytes", lambda _device, free=free: free)
        assert batch_size_of(tiny_llama, "auto", 100) == expected
    assert sequence_bytes(tiny_llama, 200) > 2 * one
    assert sequence_bytes(tiny_llama, 100, trained=True) > 4 * one


def test_the_free_memory_of_the_cpu_is_what_the_system_says():
    import psutil

    assert room.free_bytes(torch.device("cpu")) == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_a_batch_that_memory_cannot_hold_comes_again_in_halves(tiny_llama, monkeypatch, caplog):
    monkeypatch.setattr(room, "free_bytes", lambda _device: 10**15)
    sequences = [[1] * (10 - place) for place in range(10)]
    with narrow(tiny_llama, 3) as rows, caplog.at_level(logging.WARNING):
        batches, done = FittingBatches(tiny_llama, sequences, "auto"), []
        for batch in batches:
            with batches.tried():
                tiny_llama(torch.ones(len(batch), 4, dtype=torch.long))
                done += batch
        assert rows == [10, 5, 2, 2, 2, 2, 2]
        assert done == list(range(9, -1, -1))
        assert batch_size_of(tiny_llama, "auto", 4) == 32 // 4
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "memory is too small for 10 sequences at a time; going on with 5"


def test_a_given_size_and_any_other_error_are_not_mended(tiny_llama, monkeypatch):
    monkeypatch.setattr(room, "free_bytes", lambda _device: 10**15)

    def run(size):
        return tiny_llama(torch.ones(size, 4, dtype=torch.long)).logits.shape[0]

    with narrow(tiny_llama, 3) as rows:
        assert with_room(tiny_llama, "auto", 4, run) == 2
        assert rows == [32, 16, 8, 4, 2]
        with pytest.raises(RuntimeError, match="allocate memory"):
            with_room(tiny_llama, 4, 4, run)
    with narrow(tiny_llama, 0), pytest.raises(RuntimeError, match="allocate memory"):
        with_room(tiny_llama, "auto", 4, run)
    with pytest.raises(ZeroDivisionError):
        with_room(tiny_llama, "auto", 4, lambda size: size // 0)


def test_answers_are_those_of_any_other_batch_size(tiny_llama, tokenizer, monkeypatch):
    from avss_core.evaluation.generation import answer_questions

    monkeypatch.setattr(room, "free_bytes", lambda _device: 10**15)
    prompts = [f"Question {place}: {'a' * place}" for place in range(7)]
    asked = {"given": [[" yes", " no"]] * 7, "max_new_tokens": 3}
    one = answer_questions(tiny_llama, tokenizer, prompts, batch_size=1, **asked)
    with narrow(tiny_llama, 2):
        auto = answer_questions(tiny_llama, tokenizer, prompts, batch_size="auto", **asked)
    assert [each.text for each in auto] == [each.text for each in one]
    for mine, theirs in zip(auto, one, strict=True):
        assert mine.confidence == pytest.approx(theirs.confidence, abs=1e-4)
        assert mine.given == pytest.approx(theirs.given, abs=1e-4)


def faults():
    """Return how many pages the system hands out for tensors of 64 MB, each freed before the next."""
    torch.ones(1 << 24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def faults_by_device():
    """Return the pages handed out as it is, for two devices, and the memory held before and afterwards."""
    found, held = {"none": faults()}, [psutil.Process().memory_info().rss]
    for device in ("cuda", "cpu"):
        with freed_memory_kept(torch.device(device)):
            faults()
            found[device] = faults()
    return found, [*held, psutil.Process().memory_info().rss]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another library than glibc is left as it is")
def test_freed_memory_is_kept_for_the_next_tensor_and_given_back():
    # In a process of its own: where memory ran out once, glibc takes it from another place.
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        found, (before, after) = process.submit(faults_by_device).result()
    pages = (1 << 26) // resource.getpagesize()
    assert found["cpu"] < pages // 10 < pages < min(found["none"], found["cuda"])
    assert after < before + (1 << 25)
