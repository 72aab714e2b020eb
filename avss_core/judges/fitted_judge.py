"""Judge answers by a fit to GPT-4's verdicts, read from plain JSON: a logistic regression and trees.

The file holds the command that made it, the kappas on models left out of the fit, the names of the features,
the weights of the logistic regression (each feature clipped to the range seen in the fit), the trees, and the
thresholds. A leaf is a number, the share of correct answers among those that reached it in the fit; an inner
node is `[feature, limit, node if feature <= limit, node otherwise]`, with the feature's index in the list of
names. Nothing is unpickled.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avss_core.judges.features import features
from avss_core.judges.normalisation import contradicts, exact_match, normalise
from avss_core.judges.similarity import similarities

FILE = Path(__file__).with_suffix(".json")
"""Both fits: `fitted`, with two encoders' similarities, and `fitted_lexical`, by words and numbers."""

_DIGITS = 5
"""Decimals of a feature; they drop the last bits of an encoder's arithmetic."""

_MOST = 6.0
"""Bound of the log-odds of the logistic regression and of the trees."""

_LEAST = 1e-6
"""Least share of correct, and of wrong, answers, so that log-odds are finite."""

_SHORT_WORDS = 6
"""Most words of a short gold answer."""

Row = tuple[str, str, Sequence[str]]
"""A question, an answer and its gold answers."""


@dataclass(frozen=True)
class Fit:
    """A fitted judge."""

    features: tuple[str, ...]
    low: Sequence[float]
    """Lower bound of each feature in the logistic regression."""
    high: Sequence[float]
    weights: Sequence[float]
    constant: float
    """Intercept of the logistic regression."""
    trees: Sequence[Any]
    threshold: float
    """Probability from which an answer counts as correct if there is one short gold answer."""
    threshold_long: float
    """The same if the gold answers are several or a sentence, which few answers repeat word by word."""
    kappa: Mapping[str, Any]
    """Agreement with GPT-4 on models left out of the fit, by set."""

    def probabilities(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability that an answer is correct for each row of features.

        Its log-odds are the mean of two: the logistic regression's, and those of the trees' mean share.
        """
        line = self.constant + np.clip(columns, self.low, self.high) @ np.array(self.weights)
        # The trees were fitted to float32 features.
        values = columns.astype(np.float32)
        shares = np.mean([_leaves(tree, values, np.arange(len(columns))) for tree in self.trees], axis=0)
        odds = (np.clip(line, -_MOST, _MOST) + np.clip(_log_odds(shares), -_MOST, _MOST)) / 2
        probabilities: NDArray[np.float64] = 1 / (1 + np.exp(-odds))
        return probabilities

    def verdicts(self, columns: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether each answer is correct."""
        thresholds = np.where(long_golds(columns, self.features), self.threshold_long, self.threshold)
        verdicts: NDArray[np.bool_] = self.probabilities(columns) >= thresholds
        return verdicts


def fitted_verdicts(name: str, rows: Sequence[Row]) -> list[bool]:
    """Return whether each answer is correct by the fit of that name.

    An answer without a word, or with another sign than every gold answer, is wrong and one that equals a gold
    answer is correct, whatever the fit says.

    Raises:
        ModuleNotFoundError: the fit needs the encoders, and a package of theirs is not installed.
        TypeError: a row's gold answers are one string.
    """
    fit = read_fits(FILE)[name]
    verdicts = [exact_match(answer, golds) for _, answer, golds in rows]
    open_ = [index for index, row in enumerate(rows) if is_open(row)]
    if open_:
        decided = fit.verdicts(feature_table([rows[index] for index in open_], fit.features))
        for index, verdict in zip(open_, decided, strict=True):
            verdicts[index] = bool(verdict)
    return verdicts


def is_open(row: Row) -> bool:
    """Return whether the fit decides on an answer: both sides have words, and they differ by words."""
    _, answer, golds = row
    decided = exact_match(answer, golds) or contradicts(answer, golds)
    return not decided and normalise(answer) != "" and any(map(normalise, golds))


def long_golds(columns: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.bool_]:
    """Return whether the gold answers of each row of the named features are several or a sentence."""
    several = columns[:, names.index("golds")] > 1
    sentence: NDArray[np.bool_] = columns[:, names.index("gold_length")] > _SHORT_WORDS
    return several | sentence


def feature_table(rows: Sequence[Row], names: Sequence[str]) -> NDArray[np.float64]:
    """Return the named features of each answer, rounded; the encoders run only if a feature needs them.

    Raises:
        ModuleNotFoundError: a feature needs the encoders, and a package of theirs is not installed.
    """
    columns = [features(*row) for row in rows]
    if any(name.startswith(("cosine", "matched")) for name in names):
        columns = [own | near for own, near in zip(columns, similarities(rows), strict=True)]
    return np.round([[row[name] for name in names] for row in columns], _DIGITS)


@cache
def read_fits(path: Path) -> Mapping[str, Fit]:
    """Return the fits of a file by the name of the judge."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    return {
        name: Fit(**each | {"features": tuple(each["features"])}) for name, each in stored["judges"].items()
    }


def _log_odds(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-odds of shares, bounded for 0 and 1."""
    inside = np.clip(shares, _LEAST, 1 - _LEAST)
    odds: NDArray[np.float64] = np.log(inside / (1 - inside))
    return odds


def _leaves(node: Any, values: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the value of the leaf that each row reaches."""
    if len(rows) == 0:
        return np.empty(0)
    if not isinstance(node, list):
        return np.full(len(rows), float(node))
    feature, limit, low, high = node
    goes_low = values[rows, feature] <= limit
    leaves = np.empty(len(rows))
    leaves[goes_low] = _leaves(low, values, rows[goes_low])
    leaves[~goes_low] = _leaves(high, values, rows[~goes_low])
    return leaves
