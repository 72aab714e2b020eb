"""Compare answering with lm-evaluation-harness: `python benchmarks/answers.py --data DIR --model DIR`.

The data folder holds train.jsonl and test.jsonl of one question set, such as nq; the model is a checkpoint
folder. Both sides get the same prompts, greedy, in float32, in one process and in turn, part by part, so that
other load on the machine falls on both. If answers differ, the gap of the two highest logits at the first
different token shows whether rounding decided. Needs `pip install -c constraints.txt -e '.[lm-eval]'`.
"""

import argparse
import gc
import json
import time
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from avss_core.evaluation.generation import answer_questions
from avss_core.evaluation.prompts import few_shot_prompt
from avss_core.models.encoding import encode
from avss_core.models.loading import load_model, load_tokenizer

SHOTS = 5
NEW_TOKENS = 16
THEIR_BATCH = 16


def read_prompts(data: Path, limit: int) -> list[str]:
    """Return prompts of the test questions, with the first train rows as demonstrations."""
    train, test = (
        [json.loads(line) for line in (data / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
        for part in ("train", "test")
    )
    shown = [(row["question"], row["answers"][0]) for row in train[:SHOTS]]
    return [few_shot_prompt(shown, row["question"]) for row in test[:limit]]


def their_answers(harness: HFLM, prompts: list[str]) -> list[str]:
    """Return the harness's answers, as its generate_until tasks get them."""
    settings = {"until": ["\n"], "max_gen_toks": NEW_TOKENS, "do_sample": False}
    requests = [
        Instance("generate_until", {}, (prompt, settings), place) for place, prompt in enumerate(prompts)
    ]
    return [text.strip() for text in harness.generate_until(requests, disable_tqdm=True)]


@torch.inference_mode()
def smallest_gap(model: Any, tokenizer: Any, prompt: str, ours: str, theirs: str) -> float:
    """Return the gap of the two highest logits at the first token in which two answers differ."""
    start = encode(tokenizer, prompt)
    both = [encode(tokenizer, f"{prompt} {text}\n")[len(start) :] for text in (ours, theirs)]
    same = next((i for i, (a, b) in enumerate(zip(*both, strict=False)) if a != b), min(map(len, both)))
    logits = model(torch.tensor([start + both[0][:same]])).logits[0, -1]
    first, second = logits.topk(2).values.tolist()
    return first - second


def main() -> None:
    """Print the time of both sides, their ratio, and how many answers are the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--model", required=True, help="checkpoint folder")
    parser.add_argument("--limit", type=int, default=500, help="test questions")
    parser.add_argument("--batch-size", type=int, default=32, help="ours; the harness has 16")
    parser.add_argument("--part", type=int, default=250, help="questions that a side answers in one turn")
    options = parser.parse_args()
    model, tokenizer = load_model(options.model), load_tokenizer(options.model)
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=THEIR_BATCH, device="cpu")
    prompts = read_prompts(options.data, options.limit)
    sides = {
        "ours": lambda part: [
            answer.text
            for answer in answer_questions(
                model, tokenizer, part, max_new_tokens=NEW_TOKENS, batch_size=options.batch_size
            )
        ],
        "lm-eval": lambda part: their_answers(harness, part),
    }
    seconds = dict.fromkeys(sides, 0.0)
    answers: dict[str, list[str]] = {name: [] for name in sides}
    for warm in sides.values():
        warm(prompts[:2])
    for start in range(0, len(prompts), options.part):
        part = prompts[start : start + options.part]
        for name, side in sides.items():
            gc.collect()
            begin = time.perf_counter()
            answers[name] += side(part)
            seconds[name] += time.perf_counter() - begin
        times = ", ".join(f"{name} {spent:.1f} s" for name, spent in seconds.items())
        print(f"{start + len(part):4} questions: {times}", flush=True)
    differing = [i for i, pair in enumerate(zip(*answers.values(), strict=True)) if pair[0] != pair[1]]
    print(f"{len(prompts) - len(differing)} of {len(prompts)} answers are equal")
    print(f"ours / lm-eval = {seconds['ours'] / seconds['lm-eval']:.3f} ({torch.get_num_threads()} threads)")
    for index in differing:
        ours, theirs = answers["ours"][index], answers["lm-eval"][index]
        gap = smallest_gap(model, tokenizer, prompts[index], ours, theirs)
        print(f"question {index}: ours {ours!r}, lm-eval {theirs!r}; logit gap where they differ {gap:.1e}")


if __name__ == "__main__":
    main()
