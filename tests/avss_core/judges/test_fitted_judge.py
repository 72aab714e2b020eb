import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from avss_core.judges import fitted_judge
from avss_core.judges.features import features
from avss_core.judges.fitted_judge import FILE, Fit, feature_table, fitted_verdicts, read_fits
from avss_core.judges.similarity import SIMILARITIES
from benchmarks.fit_judge import BOUNDS, LINE, TREES, Table, _grown, as_json

SETS = {"nq", "sciq", "triviaqa", "truthfulqa", "wikiqa"}


def a_fit(names: tuple[str, ...], **parts: Any) -> Fit:
    """Return a fit of zeros with some parts."""
    zeros = [0.0] * len(names)
    empty = {"constant": 0.0, "trees": [0.5], "threshold": 0.5, "threshold_long": 0.5, "kappa": {}}
    return Fit(**{"features": names, "low": zeros, "high": zeros, "weights": zeros} | empty | parts)


def test_trees_by_hand() -> None:
    tree = [1, 0.5, 0.1, [0, 1.0, 0.7, 1.0]]
    fit = a_fit(("golds", "f1"), trees=[tree, 0.3])
    columns = np.array([[1.0, 0.5], [1.0, 0.6], [2.0, 0.6]])
    odds = np.log([0.2 / 0.8, 0.5 / 0.5, 0.65 / 0.35]) / 2
    assert fit.probabilities(columns) == pytest.approx(1 / (1 + np.exp(-odds)))


def test_shares_of_all_or_none_are_bounded() -> None:
    fit = a_fit(("f1",), trees=[[0, 0.5, 0.0, 1.0]])
    assert fit.probabilities(np.array([[0.0], [1.0]])) == pytest.approx(1 / (1 + np.exp([3.0, -3.0])))


def test_the_line_by_hand_is_bounded() -> None:
    fit = a_fit(("f1", "golds"), low=[0.0, 1.0], high=[1.0, 3.0], weights=[2.0, -1.0], constant=0.5)
    columns = np.array([[0.5, 2.0], [0.5, 99.0], [-7.0, 1.0]])
    odds = np.array([-0.5, -1.5, -0.5]) / 2
    assert fit.probabilities(columns) == pytest.approx(1 / (1 + np.exp(-odds)))
    steep = a_fit(("f1",), high=[1.0], weights=[1e6])
    assert steep.probabilities(np.array([[1.0]])) == pytest.approx(1 / (1 + np.exp(-3)))


def test_long_gold_answers_have_their_own_threshold() -> None:
    fit = a_fit(("golds", "gold_length"), threshold=0.6, threshold_long=0.4)
    columns = np.array([[1.0, 6.0], [1.0, 7.0], [2.0, 1.0]])
    assert fit.verdicts(columns).tolist() == [False, True, True]


def test_probabilities_from_json_are_the_library_s(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    columns = np.round(numbers.normal(size=(400, 4)), 3)
    correct = columns[:, 0] + columns[:, 1] * columns[:, 2] > 0.5
    text = np.full(400, "")
    always = np.ones(400, dtype=bool)
    table = Table(("a", "b", "c", "d"), columns, correct, always, ~always, text, text, text)
    path = tmp_path / "judge.json"
    path.write_text(as_json({"mine": replace(_grown(table), threshold=0.4)}, 400), encoding="utf-8")
    fit = read_fits(path)["mine"]
    trees = ExtraTreesClassifier(**TREES).fit(columns, correct)
    low, high = np.quantile(columns, BOUNDS, axis=0)
    line = make_pipeline(StandardScaler(), LogisticRegression(**LINE)).fit(
        np.clip(columns, low, high), correct
    )
    fresh = np.round(numbers.normal(size=(500, 4)), 3)
    for rows in (columns, fresh):
        share = np.clip(trees.predict_proba(rows)[:, 1], 1e-6, 1 - 1e-6)
        odds = [
            np.clip(line.decision_function(np.clip(rows, low, high)), -6, 6),
            np.clip(np.log(share / (1 - share)), -6, 6),
        ]
        np.testing.assert_allclose(fit.probabilities(rows), 1 / (1 + np.exp(-np.mean(odds, 0))), atol=2e-3)
    assert fit.threshold == 0.4


def test_rules_come_before_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted_judge, "read_fits", lambda path: {"fitted": None})
    rows = [("Who?", "", ["Ann"]), ("Who?", "?!", ["Ann"]), ("Who?", "the ann", ["Ann"]), ("Who?", "x", [""])]
    assert fitted_verdicts("fitted", [*rows, ("Who?", "x", [])]) == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("question", "answer", "golds", "expected"),
    [
        ("in which year did it end", "1945", ["one thousand, nine hundred and forty-five"], True),
        ("who wrote the opera fidelio", "Ludwig van Beethoven", ["Beethoven"], True),
        ("who wrote the opera fidelio", "Wolfgang Amadeus Mozart", ["Beethoven"], False),
        ("what is the capital of france", "Lyon", ["Paris"], False),
    ],
)
def test_plain_cases(question: str, answer: str, golds: list[str], expected: bool) -> None:
    assert fitted_verdicts("fitted_lexical", [(question, answer, golds)]) == [expected]


def test_the_shipped_file_says_what_it_is() -> None:
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    assert stored["command"].startswith("python benchmarks/fit_judge.py")
    assert stored["rows"] == 10989
    assert FILE.stat().st_size < 1_600_000
    lexical = tuple(features("who", "Paris", ["Paris"]))
    fits = read_fits(FILE)
    assert fits["fitted_lexical"].features == lexical
    assert fits["fitted"].features == (*lexical, *SIMILARITIES)
    for fit in fits.values():
        assert 0.16 <= fit.threshold_long <= fit.threshold <= 0.7
        for protocol in fit.kappa.values():
            assert set(protocol) == SETS
            assert all(
                {"gpt2-xl", "gpt-j-6b", "llama-7b-hf", "mean"} <= set(found) for found in protocol.values()
            )


def test_lexical_features_need_no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted_judge, "similarities", None)
    table = feature_table([("who", "Ann Lee", ["Ann"])], ["f1", "recall"])
    assert table.tolist() == [[0.66667, 1.0]]
