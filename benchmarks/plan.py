"""Plan a large model and a long calibration by arithmetic: `python benchmarks/plan.py`; see docs/scale.md.

Only names and shapes are loaded. The machine's speed is assumed (`--help`); memory and files of the code are
counted, and tests/benchmarks/test_plan.py compares each count with a tiny model.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import LlamaConfig, PreTrainedModel

from avss_core.models.architectures import blocks, depth
from avss_core.models.loading import empty_model
from avss_core.models.sizes import parameter_bytes, parameter_count
from avss_core.statistics.statistics import BLOCK_FIGURES, TOKEN_FIGURES
from avss_core.training.lora import adapter_size

BYTES_A_NUMBER = 20
"""Bytes of a float64 in JSON, with its comma."""


@dataclass(frozen=True)
class Machine:
    """Assumptions about one accelerator and its machine."""

    memory: float = 80e9
    """Bytes of an accelerator."""
    flops: float = 400e12
    """Operations a second of a forward pass in bfloat16."""
    bandwidth: float = 3.3e12
    """Bytes a second from the accelerator's memory."""
    bus: float = 25e9
    """Bytes a second from the host's memory."""
    disk: float = 3e9
    """Bytes a second from a local disk or a shared file system, for each worker."""
    digest: float = 1e9
    """Bytes a second of SHA-256."""


def statistics_numbers(layers: int, sites: int, batches: int) -> int:
    """Return how many numbers the statistics of one part hold; of its size only the batches count.

    A layer has the moments of the block's figures; at each site those of all values and of the tokens'
    figures, and three counts; and for `avss_authors` two numbers a batch.
    """
    site = (1 + 2) + (1 + 2 * len(TOKEN_FIGURES)) + 3
    return layers * (1 + 2 * len(BLOCK_FIGURES) + sites * site + 2 * batches)


def cache_bytes(config: Any, itemsize: int) -> int:
    """Return the bytes of the keys and values of one token."""
    heads = config.num_key_value_heads or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * depth(config) * heads * width * itemsize


def layer_input_bytes(layers: int, tokens: int, hidden: int, itemsize: int) -> int:
    """Return the bytes of the inputs of all layers, which every worker holds during a traversal."""
    return layers * tokens * hidden * itemsize


def traversal_blocks(layers: int) -> int:
    """Return how many blocks run while each layer is removed in turn."""
    return layers + layers * (layers - 1) // 2


def block_bytes(model: PreTrainedModel, layers: Sequence[int]) -> int:
    """Return the bytes of some blocks, which training copies."""
    return sum(parameter_bytes(blocks(model)[layer]) for layer in layers)


def lines(model: PreTrainedModel, options: argparse.Namespace, machine: Machine) -> list[str]:
    """Return the plan as lines: the model, the calibration, then answers and training."""
    return [
        *_model_lines(model, options, machine),
        *_calibration_lines(model, options, machine),
        *_answer_lines(model, options, machine),
    ]


def _model_lines(model: PreTrainedModel, options: argparse.Namespace, machine: Machine) -> list[str]:
    """Return what the weights take."""
    weights = parameter_bytes(model)
    read, digested = weights / machine.disk, weights / machine.digest
    gpus = -(-int(1.1 * weights) // int(machine.memory))
    left = max(0.0, weights - 0.9 * machine.memory)
    all_read = options.workers * weights
    return [
        f"parameters: {parameter_count(model) / 1e9:.1f} billion, {weights / 1e9:.0f} GB in bfloat16",
        f"accelerators a worker, of {machine.memory / 1e9:.0f} GB: {gpus}",
        f"a worker starts: {read:.0f} s to read the weights, {digested:.0f} s to digest them",
        f"{options.workers} workers read {all_read / 1e12:.2f} TB",
        f"on one accelerator {left / 1e9:.0f} GB stay outside and come in for each batch: "
        f"{left / machine.bus:.1f} s from memory, {left / machine.disk:.0f} s from disk",
    ]


def _calibration_lines(model: PreTrainedModel, options: argparse.Namespace, machine: Machine) -> list[str]:
    """Return what the statistics of the layers take."""
    config: Any = model.config
    layers, hidden = depth(config), config.hidden_size
    tokens, batches = options.samples * options.window, -(-options.samples // options.batch_size)
    linear = 2 * (parameter_count(model) - 2 * config.vocab_size * hidden)  # no embedding, no output head
    operations = tokens * (
        linear + 2 * layers * hidden * options.window
    )  # the mean token reads half a window
    hours = operations / machine.flops / 3600
    rooms = 6 * options.batch_size * options.window * hidden * 8
    published = 2 * layers * batches
    numbers = options.parts * statistics_numbers(layers, options.sites, 0) + published
    return [
        f"calibration: {tokens / 1e6:.0f} million tokens, {operations:.1e} operations",
        f"its time: {hours:.0f} h of one worker, {hours / options.workers:.1f} h of {options.workers}",
        f"what a kill costs, one of {options.parts} parts: {3600 * hours / options.parts:.0f} s",
        f"working memory of the statistics: {rooms / 1e9:.1f} GB a batch of {options.batch_size}",
        f"statistics: {numbers / 1e6:.1f} million numbers, {numbers * BYTES_A_NUMBER / 1e6:.0f} MB of JSON, "
        f"{published * BYTES_A_NUMBER / 1e6:.0f} MB of it for avss_authors",
        f"token ids in each worker, as a Python list: {tokens * 36 / 1e9:.0f} GB",
    ]


def _answer_lines(model: PreTrainedModel, options: argparse.Namespace, machine: Machine) -> list[str]:
    """Return what traversal, answers and training take."""
    config: Any = model.config
    layers, hidden, size = depth(config), config.hidden_size, 2
    run, held = traversal_blocks(layers), layer_input_bytes(layers, options.traversal_tokens, hidden, size)
    cache, answer = cache_bytes(config, size), layers * hidden * size
    trained = list(range(options.trained))
    adapters = adapter_size(model, trained, options.rank)
    return [
        f"traversal: {run} blocks, {run / layers:.1f} passes; "
        f"{held / 1e9:.2f} GB of {options.traversal_tokens} tokens in each worker",
        f"keys and values: {cache / 1e3:.0f} kB a token, "
        f"{2 * 32 * options.prompt * cache / 1e9:.1f} GB for 32 questions of {options.prompt} tokens",
        f"one step of generation: {1e3 * parameter_bytes(model) / machine.bandwidth:.0f} ms at least",
        f"activation dump: {answer / 1e6:.2f} MB an answer, {400 * answer / 1e9:.2f} GB for 400, "
        f"{answer / 1e6:.2f} TB for a million",
        f"training {options.trained} layers at rank {options.rank}: {adapters / 1e6:.0f} million numbers, "
        f"{16 * adapters / 1e9:.1f} GB with gradients and Adam",
        f"their copy: {block_bytes(model, trained) / 1e9:.0f} GB, beside the model on the same device",
    ]


def main() -> None:
    """Print the plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    for name, value in {
        "layers": 80, "hidden": 8192, "inner": 28672, "heads": 64, "key-value-heads": 8, "vocabulary": 128256,
        "samples": 1_000_000, "window": 512, "batch-size": 32, "parts": 2000, "sites": 2, "workers": 8,
        "traversal-tokens": 1280, "prompt": 500, "trained": 8, "rank": 8,
    }.items():  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default: {value}")
    for name, value in vars(Machine()).items():
        parser.add_argument(
            f"--{name}", type=float, default=value, help=f"of the machine; default: {value:g}"
        )
    options = parser.parse_args()
    config = LlamaConfig(
        num_hidden_layers=options.layers,
        hidden_size=options.hidden,
        intermediate_size=options.inner,
        num_attention_heads=options.heads,
        num_key_value_heads=options.key_value_heads,
        vocab_size=options.vocabulary,
    )
    machine = Machine(**{name: getattr(options, name) for name in vars(Machine())})
    print("\n".join(lines(empty_model(config, "bfloat16"), options, machine)))


if __name__ == "__main__":
    main()
