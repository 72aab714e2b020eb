"""Measure how far the offline judges agree with GPT-4's verdicts: `python benchmarks/judges.py --data DIR`.

DIR holds a file SET.MODEL.jsonl for each set and model, with an answer, a gold (aliases joined by "; ") and
gpt4_correct a row. The fitted judges saw these answers: `benchmarks/fit_judge.py` measures them.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score

from avss_core.judges.judges import DEFAULT_JUDGE, JUDGES
from avss_core.judges.normalisation import f1, rouge_l

CHOSEN_ON = ("gpt2-xl", "gpt-j-6b")
HELD_OUT = ("llama-7b-hf",)
THRESHOLDS = tuple(step / 20 for step in range(4, 17))

Rows = list[dict[str, Any]]


def read_rows(data: Path, set_name: str, models: tuple[str, ...]) -> Rows:
    """Return the rows of a set, of all given models."""
    paths = [data / f"{set_name}.{model}.jsonl" for model in models]
    rows = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return [row | {"gold": row["gold"].split("; ")} for row in rows]


def kappa(rows: Rows, verdicts: list[bool]) -> float:
    """Return Cohen's kappa of verdicts and GPT-4's."""
    return float(cohen_kappa_score([row["gpt4_correct"] for row in rows], verdicts, labels=[False, True]))


def print_agreement(title: str, rows: dict[str, Rows]) -> None:
    """Print kappa by judge and set, with a mark at the default judge of each set."""
    print(f"\n{title}\n{'judge':<12}" + "".join(f"{name:>12}" for name in rows))
    for judge in (record for record in JUDGES.values() if not record.name.startswith("fitted")):
        cells = []
        for name, members in rows.items():
            value = kappa(
                members, judge.verdicts([(row["question"], row["answer"], row["gold"]) for row in members])
            )
            cells.append(f"{value:.3f}{'*' if DEFAULT_JUDGE[name] == judge.name else ' '}")
        print(f"{judge.name:<12}" + "".join(f"{cell:>12}" for cell in cells))
    print(f"{'rows':<12}" + "".join(f"{len(members):>11} " for members in rows.values()))


def print_thresholds(name: str, score: Callable[[str, list[str]], float], rows: dict[str, Rows]) -> None:
    """Print the mean kappa over sets for each threshold of a score."""
    # Rounded as the judge does: a half can come out as 0.49999999999999994.
    scores = {key: np.round([score(row["answer"], row["gold"]) for row in rows[key]], 9) for key in rows}
    means = [np.mean([kappa(rows[key], list(scores[key] >= limit)) for key in rows]) for limit in THRESHOLDS]
    print(f"\n{name}: mean kappa by threshold, {' and '.join(CHOSEN_ON)}")
    print("  ".join(f"{limit:.2f} {mean:.3f}" for limit, mean in zip(THRESHOLDS, means, strict=True)))


def main() -> None:
    """Print the agreement on the held-out model, and the numbers behind thresholds and defaults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="directory of SET.MODEL.jsonl files")
    data = parser.parse_args().data
    held_out = {name: read_rows(data, name, HELD_OUT) for name in DEFAULT_JUDGE}
    chosen_on = {name: read_rows(data, name, CHOSEN_ON) for name in DEFAULT_JUDGE}
    print_agreement(f"kappa, held out: {', '.join(HELD_OUT)} (* default judge)", held_out)
    print_agreement(f"kappa, chosen on: {', '.join(CHOSEN_ON)} (* default judge)", chosen_on)
    print_thresholds("f1", f1, chosen_on)
    print_thresholds("rouge_l", rouge_l, chosen_on)


if __name__ == "__main__":
    main()
