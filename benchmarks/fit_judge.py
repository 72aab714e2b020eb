"""Fit the judges `fitted` and `fitted_lexical` to GPT-4's verdicts.

`python benchmarks/fit_judge.py --data DIR`, where DIR holds a file SET.MODEL.jsonl for each set and model, as
`benchmarks/judges.py` reads them. Agreement is measured on each model in turn, by a fit on the other two
with thresholds from cross-validation on those two alone; then again, with the same thresholds, by fits that
saw none of the measured questions either. Answers that `fitted_judge` decides by a rule train no fit, and the
rule's verdicts count in each kappa. The file that AVSS ships is fitted on all three models. Features take
some minutes: `--table FILE.npz` keeps them. The same data give the same file.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from avss_core.judges.features import features
from avss_core.judges.fitted_judge import FILE, Fit, feature_table, is_open, long_golds
from avss_core.judges.normalisation import exact_match
from avss_core.judges.similarity import SIMILARITIES

SETS = ("nq", "sciq", "triviaqa", "truthfulqa", "wikiqa")
MODELS = ("gpt2-xl", "gpt-j-6b", "llama-7b-hf")
COMMAND = "python benchmarks/fit_judge.py --data ../shared/data/judge"
THRESHOLDS = np.arange(16, 71, 2) / 100
WINDOW = 13
"""Neighbouring thresholds to average kappa over, odd: the best of a narrower window is more by chance."""
FOLDS = 4
TREES = {"n_estimators": 40, "min_samples_leaf": 3, "max_features": 0.3, "random_state": 0}
LINE = {"C": 0.02, "max_iter": 2000}
BOUNDS = (0.002, 0.998)
"""Quantiles that bound each feature for the line."""

Numbers = NDArray[np.float64]
Indices = NDArray[np.intp]

_DIGITS = 6
"""Decimals of a number of the line."""

_LIMIT_DIGITS = 5
"""Decimals of a limit of a tree: those of a feature."""

_SHARE_DIGITS = 3
"""Decimals of the share in a leaf."""


@dataclass(frozen=True)
class Table:
    """Judged answers: features, GPT-4's verdicts, and where each answer comes from."""

    names: tuple[str, ...]
    columns: Numbers
    correct: NDArray[np.bool_]
    open: NDArray[np.bool_]
    """Whether a fit decides; a rule decides the others: correct if `exact`."""
    exact: NDArray[np.bool_]
    sets: NDArray[np.str_]
    models: NDArray[np.str_]
    questions: NDArray[np.str_]

    def at(self, rows: Indices) -> "Table":
        """Return some of the answers."""
        columns = {name: values[rows] for name, values in vars(self).items() if name != "names"}
        return Table(self.names, **columns)

    def only(self, names: Sequence[str]) -> "Table":
        """Return the table with some of the features."""
        columns = self.columns[:, [self.names.index(name) for name in names]]
        return replace(self, names=tuple(names), columns=columns)


def fit(table: Table) -> Fit:
    """Return the fit to a table, with thresholds by mean kappa in cross-validation by question."""
    probabilities = np.zeros(len(table.correct))
    for inside, outside in GroupKFold(FOLDS).split(table.columns, groups=table.questions):
        probabilities[outside] = _grown(table.at(inside)).probabilities(table.columns[outside])
    long = long_golds(table.columns, table.names)
    return replace(
        _grown(table),
        threshold=_threshold(table, probabilities, ~long),
        threshold_long=_threshold(table, probabilities, long),
    )


def judged(table: Table, fitted: Fit) -> NDArray[np.bool_]:
    """Return the verdicts of the rules, and of a fit on the open answers."""
    return np.where(table.open, fitted.verdicts(table.columns), table.exact)


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
        fitted = fit(table.at(np.flatnonzero(others)))
        verdicts[own] = judged(table.at(np.flatnonzero(own)), fitted)
        for inside, outside in GroupKFold(FOLDS).split(table.columns, groups=table.questions):
            seen, unseen = inside[others[inside]], outside[own[outside]]
            blind = replace(
                _grown(table.at(seen)), threshold=fitted.threshold, threshold_long=fitted.threshold_long
            )
            stricter[unseen] = judged(table.at(unseen), blind)
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


def as_json(judges: Mapping[str, Fit], rows: int) -> str:
    """Return the text of the judges' file: their settings, then one line a tree."""
    head = {
        "command": COMMAND,
        "about": f"logistic regression and extremely randomised trees, fitted to GPT-4's verdicts on the "
        f"answers of {', '.join(MODELS)}",
        "rows": rows,
        "scikit-learn": sklearn.__version__,
        "settings": {"trees": TREES, "line": LINE},
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    blocks = []
    for name, fitted in judges.items():
        parts = [
            f"   {json.dumps(key)}: {json.dumps(value)}"
            for key, value in vars(fitted).items()
            if key != "trees"
        ]
        trees = ",\n".join("    " + json.dumps(tree, separators=(",", ":")) for tree in fitted.trees)
        parts.append(f'   "trees": [\n{trees}\n   ]')
        blocks.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(parts) + "\n  }")
    lines.append(' "judges": {\n' + ",\n".join(blocks) + "\n }")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def read_table(data: Path, names: Sequence[str], kept: Path | None) -> Table:
    """Return the table of all answers, its features read from a kept file if there is one."""
    rows = [
        (name, model, json.loads(line))
        for name in SETS
        for model in MODELS
        for line in (data / f"{name}.{model}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    asked = [(row["question"], row["answer"], row["gold"].split("; ")) for _, _, row in rows]
    if kept is not None and kept.exists():
        with np.load(kept) as stored:
            if list(stored["names"]) != list(names):
                raise ValueError(f"{kept} has other features: remove it")
            columns = stored["columns"]
    else:
        columns = feature_table(asked, names)
        if kept is not None:
            np.savez_compressed(kept, columns=columns, names=np.array(names))
    return Table(
        tuple(names),
        columns,
        np.array([row["gpt4_correct"] for _, _, row in rows]),
        np.array([is_open(row) for row in asked]),
        np.array([exact_match(answer, golds) for _, answer, golds in asked]),
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
        part = table.only(names)
        protocols = ("model left out", "model and questions left out")
        kappa = {
            protocol: agreement(part, verdicts)
            for protocol, verdicts in zip(protocols, left_out(part), strict=True)
        }
        for protocol, agreements in kappa.items():
            _print(f"{judge}, {protocol}", agreements)
        judges[judge] = replace(fit(part), kappa=kappa)
    text = as_json(judges, len(table.correct))
    FILE.write_text(text, encoding="utf-8")
    print(f"\nwrote {FILE} ({len(text) / 1000:.0f} kB)")


def _threshold(table: Table, probabilities: Numbers, group: NDArray[np.bool_]) -> float:
    """Return the threshold of the best smoothed mean kappa over the sets with a tenth in a group."""
    sets = [name for name in dict.fromkeys(table.sets) if np.mean(group[table.sets == name]) > 0.1]
    rows = np.flatnonzero(group & np.isin(table.sets, sets))
    if len(rows) == 0:
        return 0.5
    part = table.at(rows)
    agreed = [
        np.mean(
            list(kappas(part, np.where(part.open, probabilities[rows] >= threshold, part.exact)).values())
        )
        for threshold in THRESHOLDS
    ]
    smooth = np.convolve(np.pad(agreed, WINDOW // 2, mode="edge"), np.ones(WINDOW) / WINDOW, mode="valid")
    return float(THRESHOLDS[int(np.argmax(smooth))])


def _grown(table: Table) -> Fit:
    """Return the line and the trees fitted to the open answers of a table, thresholds at one half."""
    columns, correct = table.columns[table.open], table.correct[table.open]
    low, high = np.quantile(columns, BOUNDS, axis=0)
    scaler = StandardScaler().fit(np.clip(columns, low, high))
    line = LogisticRegression(**LINE).fit(scaler.transform(np.clip(columns, low, high)), correct)
    weights = line.coef_[0] / scaler.scale_
    trees = ExtraTreesClassifier(**TREES).fit(columns, correct)
    return Fit(
        features=table.names,
        low=[round(float(bound), _DIGITS) for bound in low],
        high=[round(float(bound), _DIGITS) for bound in high],
        weights=[round(float(weight), _DIGITS) for weight in weights],
        constant=round(float(line.intercept_[0] - weights @ scaler.mean_), _DIGITS),
        trees=[_node(each.tree_, 0) for each in trees.estimators_],
        threshold=0.5,
        threshold_long=0.5,
        kappa={},
    )


def _node(tree: Any, index: int) -> Any:
    """Return a node of a tree for the file."""
    if tree.children_left[index] == -1:
        return round(float(tree.value[index, 0, 1]), _SHARE_DIGITS)
    children = (tree.children_left[index], tree.children_right[index])
    return [
        int(tree.feature[index]),
        round(float(tree.threshold[index]), _LIMIT_DIGITS),
        *(_node(tree, child) for child in children),
    ]


def _print(title: str, agreements: dict[str, dict[str, float]]) -> None:
    """Print a table of kappas, model by set."""
    print(f"\nkappa of {title}\n{'':<14}" + "".join(f"{name:>12}" for name in agreements))
    for row in next(iter(agreements.values())):
        print(f"{row:<14}" + "".join(f"{values[row]:>12.3f}" for values in agreements.values()))


if __name__ == "__main__":
    main()
