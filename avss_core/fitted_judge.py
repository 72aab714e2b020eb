"""Judge answers by gradient-boosted trees fitted to GPT-4's verdicts, read from a file of plain JSON.

A file has the command that made it, the kappas measured on models left out of the fit, the names of the
features, the threshold, and the trees. A leaf is a number (log-odds, learning rate included), an inner node
is `[feature, limit, node where feature <= limit, node otherwise]`. Nothing is unpickled.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avss_core.answers import exact_match, normalise
from avss_core.judge_features import features
from avss_core.judge_similarity import similarities

FILE = Path(__file__).with_suffix(".json")
"""Both fits: `fitted`, with a sentence encoder's similarities, and `fitted_lexical`, by words and numbers."""

_DIGITS = 5
"""Decimals of a feature, so that the last bits of an encoder's arithmetic do not count."""

Row = tuple[str, str, Sequence[str]]
"""A question, an answer and its gold answers."""


@dataclass(frozen=True)
class Fit:
    """A fitted judge as its file has it."""

    features: tuple[str, ...]
    start: float
    """Log-odds before the first tree."""
    trees: Sequence[Any]
    threshold: float
    """Probability from which an answer counts as correct."""
    kappa: Mapping[str, Any]
    """Agreement with GPT-4 on models left out of the fit, by set."""

    def probabilities(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability that an answer is correct for each row of the features, in their order."""
        # Trees are fitted to float32 features.
        values = dict(zip(self.features, columns.astype(np.float32).T, strict=True))
        odds = np.full(len(columns), self.start)
        for tree in self.trees:
            odds += _leaves(tree, values, np.arange(len(columns)))
        probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-odds))
        return probabilities


def fitted_verdicts(name: str, rows: Sequence[Row]) -> list[bool]:
    """Return whether each answer is correct, by the fit of that name.

    An answer without a word is wrong and one that equals a gold answer is right, without the fit.

    Raises:
        ModuleNotFoundError: the fit needs the sentence encoder, and its package is not installed.
        TypeError: a row's gold answers are one string.
    """
    fit = read_fits(FILE)[name]
    exact = [exact_match(answer, golds) for _, answer, golds in rows]
    open_ = [
        index
        for index, (_, answer, golds) in enumerate(rows)
        if normalise(answer) != "" and not exact[index] and any(map(normalise, golds))
    ]
    verdicts = list(exact)
    if open_:
        columns = feature_table([rows[index] for index in open_], fit.features)
        for index, probability in zip(open_, fit.probabilities(columns), strict=True):
            verdicts[index] = bool(probability >= fit.threshold)
    return verdicts


def feature_table(rows: Sequence[Row], names: Sequence[str]) -> NDArray[np.float64]:
    """Return the named features, rounded, one row an answer; the encoder runs only if one of them needs it.

    Raises:
        ModuleNotFoundError: a feature needs the sentence encoder, and its package is not installed.
    """
    found = [features(*row) for row in rows]
    if any(name.startswith(("cosine", "matched")) for name in names):
        found = [lexical | nearness for lexical, nearness in zip(found, similarities(rows), strict=True)]
    return np.round([[row[name] for name in names] for row in found], _DIGITS)


@cache
def read_fits(path: Path) -> Mapping[str, Fit]:
    """Return the fits that a file holds, by the name of the judge."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: Fit(
            features=tuple(each["features"]),
            start=each["start"],
            trees=each["trees"],
            threshold=each["threshold"],
            kappa=each["kappa"],
        )
        for name, each in stored["judges"].items()
    }


def _leaves(
    node: Any, values: Mapping[str, NDArray[np.float32]], rows: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return the value of the leaf that each row reaches."""
    if not isinstance(node, list):
        return np.full(len(rows), float(node))
    name, limit, low, high = node
    goes_low = values[name][rows] <= limit
    found = np.empty(len(rows))
    found[goes_low] = _leaves(low, values, rows[goes_low])
    found[~goes_low] = _leaves(high, values, rows[~goes_low])
    return found
