import json
import math

import numpy as np
import pytest

from avss_core.metrics.bootstrap import bootstrap_interval
from avss_core.metrics.retention import (
    fallen,
    majority_share,
    nll_retention,
    perplexity_ratio,
    retention,
    retention_table,
    without_retention,
)

NOTHING = {"value": None, "low": None, "high": None}


def point(value: float) -> dict[str, float]:
    return {"value": value, "low": value, "high": value}


def test_retention_by_hand() -> None:
    assert retention([1, 1, 0, 1], [1, 0, 0, 1])["value"] == pytest.approx(2 / 3)
    assert retention([1, 1, 0, 1], [1, 0, 0, 1], chance=0.5)["value"] == 0.0
    assert retention([1, 1, 1, 1], [0, 1, 1, 1], chance=0.5)["value"] == 0.5
    assert retention([0, 0], [1, 0]) == NOTHING
    assert retention([1, 0], [1, 1], chance=0.5) == NOTHING, "before is no better than chance"
    assert retention([], []) == NOTHING


def test_the_same_answers_keep_all() -> None:
    assert retention([1, 0, 1, 1], [1, 0, 1, 1]) == point(1.0)
    assert nll_retention([2.0, 3.0], [2.0, 3.0]) == point(1.0)
    assert perplexity_ratio([2.0, 3.0], [2.0, 3.0]) == point(1.0)


@pytest.mark.parametrize("chance", [0.0, 0.3])
def test_the_interval_is_that_of_resamples_taken_one_by_one(chance: float) -> None:
    generator = np.random.default_rng(0)
    before, after = generator.random(80) < 0.6, generator.random(80) < 0.4
    found = retention(before, after, chance=chance, seed=4)

    def ratio(old: np.ndarray, new: np.ndarray) -> float:
        return (new.mean() - chance) / (old.mean() - chance) if old.mean() > chance else math.nan

    low, high = bootstrap_interval(ratio, before, after, seed=4)
    assert found == pytest.approx({"value": ratio(before, after), "low": low, "high": high})


def test_pairing_narrows_the_interval() -> None:
    before = np.arange(100) % 2
    after = before * (np.arange(100) % 10 > 0)  # loses some of what was right, and gains nothing
    paired = retention(before, after)
    unpaired = retention(before, np.random.default_rng(0).permutation(after))
    assert paired["high"] - paired["low"] < unpaired["high"] - unpaired["low"]


def test_language_modelling_by_hand() -> None:
    assert nll_retention([3.0, 3.0], [4.0, 4.0]) == point(0.75)
    assert perplexity_ratio([3.0, 3.0], [4.0, 4.0]) == pytest.approx(point(math.e))
    assert perplexity_ratio([1.0, 3.0], [2.0, 5.0])["value"] == pytest.approx(math.exp(1.5))
    assert perplexity_ratio([1.0], [1e6])["value"] == pytest.approx(math.exp(700)), "finite for any loss"
    assert perplexity_ratio([], []) == NOTHING


@pytest.mark.parametrize("function", [retention, nll_retention, perplexity_ratio])
def test_unequal_columns_are_refused(function) -> None:
    with pytest.raises(ValueError, match=r"shape \([12],\), after \([12],\); expected one equal axis"):
        function([1.0, 2.0], [1.0])


def test_the_majority_share_by_hand() -> None:
    assert majority_share([0, 1, 1]) == 2 / 3
    assert majority_share([1, 1]) == 1.0


def variant(sets: dict[str, list[int]], means: list[float], predicted: list[int]) -> dict:
    labels = [1, 1, 0, 0, 1]
    return {
        "sets": {
            name: {"answers": [{"id": i, "confidence": 0.5, "correct": y} for i, y in enumerate(correct)]}
            for name, correct in sets.items()
        },
        "text": {"window_means": means},
        "sentiment": {
            "answers": [
                {"id": i, "predicted": p, "label": label, "correct": p == label}
                for i, (p, label) in enumerate(zip(predicted, labels, strict=True))
            ]
        },
    }


DENSE = variant({"nq": [0, 0], "sciq": [1] * 12 + [0] * 4, "wikiqa": [1] * 10}, [2.0, 2.0], [1, 1, 0, 0, 1])
PRUNED = variant({"nq": [0, 1], "sciq": [1] * 4 + [0] * 12, "wikiqa": [1] * 10}, [4.0, 4.0], [1, 1, 1, 0, 1])


def scored(name: str, model: dict, losses: list, preferred: list) -> dict:
    """The same model with the loss of accepted answers, and preferences, of a set."""
    answers = [
        {**row, "gold_nll": loss, "preference": right}
        for row, loss, right in zip(model["sets"][name]["answers"], losses, preferred, strict=True)
    ]
    return {**model, "sets": {**model["sets"], name: {"answers": answers}}}


def test_a_table_by_hand() -> None:
    table = json.loads(json.dumps(retention_table(DENSE, PRUNED), allow_nan=False))
    sets = table["generation"]["sets"]
    assert sets["nq"] == {"n": 2, "accuracy_before": 0.0, "accuracy_after": 0.5, "retention": NOTHING}
    assert sets["sciq"]["retention"]["value"] == pytest.approx(1 / 3)
    assert sets["wikiqa"]["retention"] == point(1.0)
    assert table["generation"]["mean"]["value"] == pytest.approx(2 / 3), "over sets with enough right answers"
    assert not {"gold_nll", "preference"} & (table["generation"].keys() | sets["sciq"].keys())
    feeling = table["classification"]["sentiment"]
    assert (feeling["n"], feeling["chance"], feeling["accuracy_after"]) == (5, 0.6, 0.8)
    assert feeling["retention"]["value"] == pytest.approx(0.8)
    assert feeling["retention_over_chance"]["value"] == pytest.approx(0.5)
    text = table["language_modelling"]
    assert (text["windows"], text["nll_retention"]) == (2, point(0.5))
    assert text["perplexity_ratio"] == pytest.approx(point(math.exp(2)))


def test_a_model_keeps_all_of_itself() -> None:
    table = retention_table(DENSE, DENSE)
    assert table["generation"]["mean"] == point(1.0)
    assert table["classification"]["sentiment"]["retention_over_chance"]["value"] == 1.0
    assert fallen(table, 1.0) == []
    assert without_retention(table) == [
        "nq accuracy: no retention, since the dense model answers 0 of 2: too few for a share"
    ]


def test_the_gate_names_what_fell() -> None:
    table = retention_table(DENSE, PRUNED)
    assert [line.partition(":")[0] for line in fallen(table, 0.9)] == [
        "sciq accuracy",
        "sentiment accuracy",
        "language modelling NLL",
    ]
    table["generation"]["sets"]["sciq"]["retention"] = {"value": 0.3, "low": 0.17, "high": 0.45}
    assert (
        fallen(table, 0.9)[0] == "sciq accuracy: retention 0.30 [0.17, 0.45] is under gates.min_retention 0.9"
    )
    assert len(fallen(table, 0.5)) == 1, "the loss keeps 0.5, which is not under it"
    assert [line.partition(":")[0] for line in fallen(table, 0.5)] == ["sciq accuracy"]


def test_a_set_of_few_right_answers_has_no_part_in_the_mean_or_the_gate() -> None:
    nine, ten = [1] * 9 + [0] * 7, [1] * 10 + [0] * 6
    before = variant({"few": nine, "enough": ten}, [2.0], [1, 1, 0, 0, 1])
    after = variant({"few": [0] * 16, "enough": [1] * 5 + [0] * 11}, [2.0], [1, 1, 0, 0, 1])
    table = retention_table(before, after)
    assert table["generation"]["sets"]["few"]["retention"] == point(0.0), "the number stays in the record"
    assert table["generation"]["mean"] == table["generation"]["sets"]["enough"]["retention"]
    assert table["generation"]["mean"]["value"] == 0.5
    assert [line.partition(":")[0] for line in fallen(table, 0.9)] == ["enough accuracy"]
    assert without_retention(table) == [
        "few accuracy: no retention, since the dense model answers 9 of 16: too few for a share"
    ]
    table["classification"]["sentiment"]["retention"] = NOTHING
    assert without_retention(table)[1:] == [
        "sentiment accuracy: no retention, since there was nothing to keep"
    ]


def test_the_loss_and_the_preference_of_accepted_answers_by_hand() -> None:
    # Question 2 was not scored by one side, and question 3 has no wrong answer.
    before = scored("sciq", DENSE, [1.0, 2.0, None, 3.0] * 4, [True, True, None, None] * 4)
    after = scored("sciq", PRUNED, [2.0, 4.0, 1.0, 2.0] * 4, [True, False, True, None] * 4)
    sets = retention_table(before, after, seed=3)["generation"]["sets"]
    loss, preference = sets["sciq"]["gold_nll"], sets["sciq"]["preference"]
    assert (loss["n"], loss["loss_before"], loss["loss_after"]) == (12, 2.0, pytest.approx(8 / 3))
    assert loss["retention"]["value"] == pytest.approx(0.75), "dense over own, since lower is better"
    assert (preference["n"], preference["accuracy_before"], preference["accuracy_after"]) == (8, 1.0, 0.5)
    assert preference["retention"]["value"] == pytest.approx(0.5)
    assert sets["wikiqa"].keys() == {"n", "accuracy_before", "accuracy_after", "retention"}

    def ratio(old: np.ndarray, new: np.ndarray) -> float:
        return float(old.mean() / new.mean())

    columns = [[1.0, 2.0, 3.0] * 4, [2.0, 4.0, 2.0] * 4]
    low, high = bootstrap_interval(ratio, *columns, seed=4)  # the second set has the next seed
    assert loss["retention"] == pytest.approx({"value": 0.75, "low": low, "high": high})


def test_the_means_of_losses_and_preferences_are_over_the_sets_that_have_them() -> None:
    yes, no = [True] * 16, [True] * 8 + [False] * 8
    before = scored("sciq", DENSE, [1.0] * 16, yes)
    after = scored("sciq", PRUNED, [2.0] * 16, no)
    generation = retention_table(
        scored("wikiqa", before, [3.0] * 10, [True] * 9 + [False]),
        scored("wikiqa", after, [3.0] * 10, [True] * 10),
    )["generation"]
    assert generation["gold_nll"] == point(0.75), "1 / 2 and 3 / 3"
    # Of 9 preferences there are too few for a share.
    assert generation["preference"] == generation["sets"]["sciq"]["preference"]["retention"]
    assert generation["sets"]["wikiqa"]["preference"]["retention"]["value"] == pytest.approx(10 / 9)


def test_a_model_keeps_all_losses_and_preferences_of_itself() -> None:
    same = scored("sciq", DENSE, [1.5] * 16, [True] * 12 + [False] * 4)
    generation = retention_table(same, same)["generation"]
    assert (generation["gold_nll"], generation["preference"]) == (point(1.0), point(1.0))


def test_two_empty_sets_have_no_mean() -> None:
    nothing = variant({"nq": [0, 0]}, [2.0], [1, 1, 0, 0, 1])
    assert retention_table(nothing, nothing)["generation"]["mean"] == NOTHING


def test_other_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="both models must answer the same questions"):
        retention_table(DENSE, variant({"nq": [0], "sciq": [1], "wikiqa": [1]}, [2.0], [1, 1, 0, 0, 1]))
