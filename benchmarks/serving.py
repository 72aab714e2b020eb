"""Ask servers what a checkpoint says: `python benchmarks/serving.py --checkpoint DIR --llama-cpp BIN`.

DIR is a checkpoint folder, pruned or not. Each server runs on this machine's CPU and is asked for the same
greedy tokens as transformers gives, on the same prompts:

llama-server: what `avss export DIR --gguf` writes; BIN is the folder with llama.cpp's programs.
llama-quantize: the same file in 8 bits, which need not say the same.
vllm serve: the folder itself; BIN is the folder with the program `vllm`.

Prints one Markdown row a server: how many of the tokens are the same up to the first that differs. A server
that is not named is left out.
"""

import argparse
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from avss_core.models.loading import load_model, load_tokenizer
from avss_core.surgery.export.gguf_export import export_gguf, plan_gguf

PROMPTS = (
    "The capital of France is Paris, and in 1789 the",
    "Water boils at 100 degrees Celsius because",
    "def add(a, b):\n    return",
)
NEW_TOKENS = 24
WAIT = 300
"""Seconds that a server may take to start."""


@torch.no_grad()
def expected(checkpoint: str, dtype: str) -> list[str]:
    """Return what transformers says behind each prompt."""
    model: Any = load_model(checkpoint, dtype=dtype)
    tokenizer: Any = load_tokenizer(checkpoint)
    said = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        tokens = model.generate(ids, max_new_tokens=NEW_TOKENS, do_sample=False)[0, ids.shape[1] :]
        said.append(tokenizer.decode(tokens, skip_special_tokens=True))
    return said


def ask(address: str, payload: dict[str, Any] | None = None) -> Any:
    """Return the JSON answer of a server."""
    body = None if payload is None else json.dumps(payload).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=WAIT) as answer:
        text = answer.read()
    return json.loads(text) if text else None


@contextmanager
def serving(command: Sequence[str]) -> Iterator[str]:
    """Yield the address of a server once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)  # it has an environment of its own
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        try:
            for _ in range(WAIT):
                time.sleep(1)
                try:
                    ask(f"{address}/health")
                    break
                except OSError:
                    if process.poll() is not None:
                        log.seek(0)
                        raise RuntimeError(log.read().decode()[-2000:]) from None
            yield address
        finally:
            process.terminate()
            process.wait()


def completions(address: str) -> list[str]:
    """Return what a server says behind each prompt, by the interface that all of them have."""
    payload = {"max_tokens": NEW_TOKENS, "temperature": 0}
    model = ask(f"{address}/v1/models")["data"][0]["id"]
    return [
        ask(f"{address}/v1/completions", {"model": model, "prompt": prompt, **payload})["choices"][0]["text"]
        for prompt in PROMPTS
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--llama-cpp", type=Path)
    parser.add_argument("--vllm", type=Path)
    options = parser.parse_args()
    plan = plan_gguf(options.checkpoint)
    wanted = expected(options.checkpoint, plan.dtype)
    tokenizer: Any = load_tokenizer(options.checkpoint)

    def row(name: str, said: Sequence[str]) -> None:
        same = sum(_same(tokenizer, *pair) for pair in zip(wanted, said, strict=True))
        count = sum(len(tokenizer(text, add_special_tokens=False).input_ids) for text in wanted)
        print(f"| `{name}` | {same} of {count} |", flush=True)

    print("| server | tokens as by transformers |\n| --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        if options.llama_cpp:
            file, small = Path(folder) / "model.gguf", Path(folder) / "model-q8.gguf"
            export_gguf(plan, file)
            with serving([str(options.llama_cpp / "llama-server"), "-m", str(file)]) as address:
                row("llama-server", completions(address))
            quantize = [str(options.llama_cpp / "llama-quantize"), str(file), str(small), "Q8_0"]
            subprocess.run(quantize, check=True, capture_output=True)
            with serving([str(options.llama_cpp / "llama-server"), "-m", str(small)]) as address:
                row("llama-quantize to Q8_0, llama-server", completions(address))
        if options.vllm:
            words = [
                "serve",
                options.checkpoint,
                "--dtype",
                plan.dtype,
                "--max-model-len",
                "512",
                "--enforce-eager",
            ]
            with serving([str(options.vllm / "vllm"), *words]) as address:
                row("vllm serve", completions(address))


def _same(tokenizer: Callable[..., Any], wanted: str, said: str) -> int:
    """Return how many tokens two texts begin with."""
    first, second = (tokenizer(text, add_special_tokens=False).input_ids for text in (wanted, said))
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))


if __name__ == "__main__":
    main()
