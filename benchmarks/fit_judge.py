"""Fit the judges `fitted` and `fitted_lexical` to GPT-4's verdicts.

`python benchmarks/fit_judge.py --data DIR`, where DIR holds a file SET.MODEL.jsonl for each set and model, as
`benchmarks/judges.py` reads them. Agreement is measured on each model in turn, by a fit on the other two
whose threshold was chosen by cross-validation on those two alone; then again, with the same thresholds, by
fits that saw none of the measured questions either. The file that AVSS ships is fitted on all three models.
Features take some minutes: `--table FILE.npz` keeps them. The same data give the same file.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import GroupKFold

from avss_core.fitted_judge import FILE, feature_table
from avss_core.judge_features import features
from avss_core.judge_similarity import SIMILARITIES

SETS = ("nq", "sciq", "triviaqa", "truthfulqa", "wikiqa")
MODELS = ("gpt2-xl", "gpt-j-6b", "llama-7b-hf")
COMMAND = "python benchmarks/fit_judge.py --data ../shared/data/judge"
THRESHOLDS = np.arange(30, 61, 2) / 100
FOLDS = 4
TREES = {
    "n_estimators": 200,
    "learning_rate": 0.05,
    "max_depth": 4,
    "min_samples_leaf": 15,
    "subsample": 0.5,
    "max_features": 0.2,
    "random_state": 0,
}

Numbers = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Table:
    """Judged answers: features, GPT-4's verdicts, and where each answer comes from."""

    columns: Numbers
    correct: NDArray[np.bool_]
    sets: NDArray[np.str_]
    models: NDArray[np.str_]
    questions: NDArray[np.str_]

    def at(self, rows: Indices) -> "Table":
        """Return some of the answers."""
        parts = (self.columns, self.correct, self.sets, self.models, self.questions)
        return Table(*(part[rows] for part in parts))


@dataclass(frozen=True)
class Fitted:
    """Trees and the probability from which they call an answer correct."""

    trees: GradientBoostingClassifier
    threshold: float


def fit(table: Table) -> Fitted:
    """Return trees fitted to a table, their threshold by mean kappa in cross-validation by question."""
    probabilities = np.zeros(len(table.correct))
    for inside, outside in GroupKFold(FOLDS).split(table.columns, groups=table.questions):
        probabilities[outside] = _trees(table, inside).predict_proba(table.columns[outside])[:, 1]
    agreement = [
        np.mean(list(kappas(table, probabilities >= threshold).values())) for threshold in THRESHOLDS
    ]
    smooth = np.convolve(np.pad(agreement, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    everything = np.arange(len(table.correct))
    return Fitted(_trees(table, everything), float(THRESHOLDS[int(np.argmax(smooth))]))


def kappas(table: Table, verdicts: NDArray[np.bool_]) -> dict[str, float]:
    """Return Cohen's kappa of verdicts and GPT-4's for each set of a table."""
    return {
        str(name): float(
            cohen_kappa_score(
                table.correct[table.sets == name], verdicts[table.sets == name], labels=[False, True]
            )
        )
        for name in dict.fromkeys(table.sets)
    }


def left_out(table: Table) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return verdicts by fits that saw no answer of the same model, and by fits without its questions too."""
    verdicts = np.zeros(len(table.correct), dtype=bool)
    stricter = verdicts.copy()
    for model in dict.fromkeys(table.models):
        others, own = table.models != model, table.models == model
        found = fit(table.at(np.flatnonzero(others)))
        verdicts[own] = found.trees.predict_proba(table.columns[own])[:, 1] >= found.threshold
        for inside, outside in GroupKFold(FOLDS).split(table.columns, groups=table.questions):
            seen, unseen = inside[others[inside]], outside[own[outside]]
            probabilities = _trees(table, seen).predict_proba(table.columns[unseen])[:, 1]
            stricter[unseen] = probabilities >= found.threshold
    return verdicts, stricter


def agreement(table: Table, verdicts: NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    """Return each set's kappa for each model left out, their mean, and that of all answers together."""
    models = list(dict.fromkeys(map(str, table.models)))
    each = {}
    for model in models:
        rows = np.flatnonzero(table.models == model)
        each[model] = kappas(table.at(rows), verdicts[rows])
    together = kappas(table, verdicts)
    return {
        name: {model: round(each[model][name], 4) for model in models}
        | {
            "mean": round(float(np.mean([each[model][name] for model in models])), 4),
            "together": round(together[name], 4),
        }
        for name in together
    }


def as_json(judges: dict[str, dict[str, Any]], rows: int) -> str:
    """Return the text of the judges' file: what they are, then one line a tree."""
    head = {
        "command": COMMAND,
        "about": f"gradient-boosted trees, fitted to GPT-4's verdicts on the answers of {', '.join(MODELS)}",
        "rows": rows,
        "scikit-learn": sklearn.__version__,
        "settings": TREES,
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    blocks = []
    for name, record in judges.items():
        parts = [
            f"   {json.dumps(key)}: {json.dumps(value)}" for key, value in record.items() if key != "trees"
        ]
        trees = ",\n".join("    " + json.dumps(tree, separators=(",", ":")) for tree in record["trees"])
        parts.append(f'   "trees": [\n{trees}\n   ]')
        blocks.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(parts) + "\n  }")
    lines.append(' "judges": {\n' + ",\n".join(blocks) + "\n }")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def as_record(found: Fitted, names: Sequence[str], kappa: dict[str, Any]) -> dict[str, Any]:
    """Return a fit in the form that `avss_core.fitted_judge` reads."""
    prior = float(found.trees.init_.class_prior_[1])
    return {
        "kappa": kappa,
        "features": list(names),
        "threshold": found.threshold,
        "start": round(float(np.log(prior / (1 - prior))), 6),
        "trees": [_node(stage[0].tree_, 0, names) for stage in found.trees.estimators_],
    }


def read_table(data: Path, names: Sequence[str], kept: Path | None) -> Table:
    """Return the table of all answers, its features read from a kept file if there is one."""
    rows = [
        (name, model, json.loads(line))
        for name in SETS
        for model in MODELS
        for line in (data / f"{name}.{model}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    if kept is not None and kept.exists():
        with np.load(kept) as stored:
            if list(stored["names"]) != list(names):
                raise ValueError(f"{kept} has other features: remove it")
            columns = stored["columns"]
    else:
        asked = [(row["question"], row["answer"], row["gold"].split("; ")) for _, _, row in rows]
        columns = feature_table(asked, names)
        if kept is not None:
            np.savez_compressed(kept, columns=columns, names=np.array(names))
    return Table(
        columns,
        np.array([row["gpt4_correct"] for _, _, row in rows]),
        np.array([name for name, _, _ in rows]),
        np.array([model for _, model, _ in rows]),
        np.array([row["question"] for _, _, row in rows]),
    )


def main() -> None:
    """Print the agreement of both judges and write their file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="directory of SET.MODEL.jsonl files")
    parser.add_argument("--table", type=Path, help="file that keeps the features between runs (.npz)")
    options = parser.parse_args()
    lexical = list(features("", "a", ["a"]))
    table = read_table(options.data, [*lexical, *SIMILARITIES], options.table)
    judges = {}
    for judge, names in {"fitted": [*lexical, *SIMILARITIES], "fitted_lexical": lexical}.items():
        part = Table(table.columns[:, : len(names)], table.correct, table.sets, table.models, table.questions)
        protocols = ("model left out", "model and questions left out")
        kappa = {
            protocol: agreement(part, verdicts)
            for protocol, verdicts in zip(protocols, left_out(part), strict=True)
        }
        for protocol, found in kappa.items():
            _print(f"{judge}, {protocol}", found)
        judges[judge] = as_record(fit(part), names, kappa)
    text = as_json(judges, len(table.correct))
    FILE.write_text(text, encoding="utf-8")
    print(f"\nwrote {FILE} ({len(text) / 1000:.0f} kB)")


def _trees(table: Table, rows: Indices) -> GradientBoostingClassifier:
    """Return trees fitted to some rows of a table."""
    return GradientBoostingClassifier(**TREES).fit(table.columns[rows], table.correct[rows])


def _node(tree: Any, index: int, names: Sequence[str]) -> Any:
    """Return a node of a tree as it is written."""
    if tree.children_left[index] == -1:
        return round(TREES["learning_rate"] * float(tree.value[index, 0, 0]), 6)
    children = (tree.children_left[index], tree.children_right[index])
    return [
        names[tree.feature[index]],
        round(float(tree.threshold[index]), 6),
        *(_node(tree, child, names) for child in children),
    ]


def _print(title: str, found: dict[str, dict[str, float]]) -> None:
    """Print a table of kappas, model by set."""
    print(f"\nkappa of {title}\n{'':<14}" + "".join(f"{name:>12}" for name in found))
    for row in next(iter(found.values())):
        print(f"{row:<14}" + "".join(f"{values[row]:>12.3f}" for values in found.values()))


if __name__ == "__main__":
    main()
