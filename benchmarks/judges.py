"""Measure how far the offline judges agree with GPT-4's verdicts: `python benchmarks/judges.py --data DIR`.

DIR holds a file SET.MODEL.jsonl for each set and model, with a question, an answer, a gold (aliases joined by
"; ") and gpt4_correct a row. The fitted judges saw the answers of the three models that are read by default:
`benchmarks/fit_judge.py` measures them there. With `--models NAME ...` the files SET.NAME.jsonl of those
models are read instead, and every judge is measured, the fitted ones too.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score

from avss_core.judges.judges import DEFAULT_JUDGE, JUDGES
from avss_core.judges.normalisation import f1, rouge_l

CHOSEN_ON = ("gpt2-xl", "gpt-j-6b")
HELD_OUT = ("llama-7b-hf",)
LEXICAL = tuple(name for name in JUDGES if not name.startswith("fitted"))
THRESHOLDS = tuple(step / 20 for step in range(4, 17))

Rows = list[dict[str, Any]]


def read_rows(data: Path, set_name: str, models: Sequence[str]) -> Rows:
    """Return the rows of a set, of all given models.

    Raises:
        FileNotFoundError: a model has no file of that set.
    """
    paths = [data / f"{set_name}.{model}.jsonl" for model in models]
    rows = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return [row | {"gold": row["gold"].split("; ")} for row in rows]


def kappa(rows: Rows, verdicts: list[bool]) -> float:
    """Return Cohen's kappa of verdicts and GPT-4's."""
    return float(cohen_kappa_score([row["gpt4_correct"] for row in rows], verdicts, labels=[False, True]))


def print_agreement(title: str, judges: Sequence[str], rows: dict[str, Rows]) -> None:
    """Print kappa by judge and set."""
    print(f"\n{title}\n{'judge':<14}" + "".join(f"{name:>12}" for name in rows))
    for judge in judges:
        values = [
            kappa(
                members,
                JUDGES[judge].verdicts([(row["question"], row["answer"], row["gold"]) for row in members]),
            )
            for members in rows.values()
        ]
        print(f"{judge:<14}" + "".join(f"{value:>12.3f}" for value in values))
    print(f"{'rows':<14}" + "".join(f"{len(members):>12}" for members in rows.values()))


def print_thresholds(name: str, score: Callable[[str, list[str]], float], rows: dict[str, Rows]) -> None:
    """Print the mean kappa over sets for each threshold of a score."""
    # Rounded as the judge does: a half can come out as 0.49999999999999994.
    scores = {key: np.round([score(row["answer"], row["gold"]) for row in rows[key]], 9) for key in rows}
    means = [np.mean([kappa(rows[key], list(scores[key] >= limit)) for key in rows]) for limit in THRESHOLDS]
    print(f"\n{name}: mean kappa by threshold, {' and '.join(CHOSEN_ON)}")
    print("  ".join(f"{limit:.2f} {mean:.3f}" for limit, mean in zip(THRESHOLDS, means, strict=True)))


def main() -> None:
    """Print the agreement on the named models, or on the held-out one with what thresholds were chosen by."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="directory of SET.MODEL.jsonl files")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="measure every judge on these models")
    options = parser.parse_args()

    def read(models: Sequence[str]) -> dict[str, Rows]:
        return {name: read_rows(options.data, name, models) for name in DEFAULT_JUDGE}

    if options.models:
        seen = [name for name in options.models if name in CHOSEN_ON + HELD_OUT]
        title = f"kappa: {', '.join(options.models)}"
        if seen:
            title += f"\nthe fitted judges are fitted to the answers of {', '.join(seen)}"
        print_agreement(title, list(JUDGES), read(options.models))
        return
    chosen_on = read(CHOSEN_ON)
    print_agreement(f"kappa, held out: {', '.join(HELD_OUT)}", LEXICAL, read(HELD_OUT))
    print_agreement(f"kappa, chosen on: {', '.join(CHOSEN_ON)}", LEXICAL, chosen_on)
    print_thresholds("f1", f1, chosen_on)
    print_thresholds("rouge_l", rouge_l, chosen_on)


if __name__ == "__main__":
    main()
