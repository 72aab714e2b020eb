from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from avss_core.judges.features import features
from benchmarks import fit_judge
from benchmarks.fit_judge import Table, agreement, fit, judged, left_out, read_table

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "judge"


@pytest.fixture(autouse=True)
def _few_trees(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Grow few trees, except on real data."""
    if "real" not in request.keywords:
        monkeypatch.setitem(fit_judge.TREES, "n_estimators", 20)


def made_up(rows: int = 360) -> Table:
    """Return answers that are correct where the first feature is high, of three models and two sets."""
    columns = np.round(np.random.default_rng(0).normal(size=(rows, 3)), 3)
    order = np.arange(rows)
    always = np.ones(rows, dtype=bool)
    return Table(
        ("gold_length", "golds", "other"),
        columns,
        columns[:, 0] > 0.4,
        always,
        ~always,
        np.array(["nq", "sciq"])[order % 2],
        np.array(["one", "two", "three"])[order % 3],
        np.array([f"question {number // 3}" for number in order]),
    )


def test_a_plain_rule_is_found_in_models_and_questions_left_out() -> None:
    table = made_up()
    for verdicts in left_out(table):
        found = agreement(table, verdicts)
        assert set(found) == {"nq", "sciq"}
        assert all(values["mean"] > 0.7 and values["together"] > 0.7 for values in found.values())


def test_no_fit_sees_a_verdict_on_what_it_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    table = made_up(90)
    own = table.models == "two"
    turned = replace(table, correct=table.correct ^ own)
    for old, new in zip(left_out(table), left_out(turned), strict=True):
        assert (old[own] == new[own]).all()


def test_agreement_by_hand() -> None:
    table = made_up(12)
    found = agreement(table, ~table.correct)
    of_nq = table.sets == "nq"
    assert found["nq"]["together"] == round(cohen_kappa_score(table.correct[of_nq], ~table.correct[of_nq]), 4)
    assert list(found["nq"]) == ["one", "two", "three", "mean", "together"]


def test_the_same_data_give_the_same_fit() -> None:
    assert fit(made_up(90)) == fit(made_up(90))


def test_rules_come_before_a_fit_and_train_none() -> None:
    table = made_up(90)
    ruled = np.arange(90) % 5 == 0
    with_rules = replace(table, open=~ruled, exact=ruled)
    found = fit(with_rules)
    assert judged(with_rules, found)[ruled].all()
    turned = replace(with_rules, columns=np.where(ruled[:, None], -table.columns, table.columns))
    assert fit(turned).trees == found.trees


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="GPT-4's verdicts are not beside the project")
def test_lexical_features_agree_with_gpt_4_on_a_model_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_judge, "SETS", ("nq",))
    table = read_table(DATA, list(features("who", "Paris", ["Paris"])), None)
    seen, unseen = (
        np.flatnonzero(table.models != "llama-7b-hf"),
        np.flatnonzero(table.models == "llama-7b-hf"),
    )
    verdicts = judged(table.at(unseen), fit(table.at(seen)))
    assert cohen_kappa_score(table.correct[unseen], verdicts) > 0.6
