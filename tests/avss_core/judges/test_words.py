import pytest

from avss_core.judges.features import features
from avss_core.judges.words import WORD_FEATURES, nearness, opposite, word_features


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("mitt", "mitt", 1.0),
        ("c", "cyanea", 0.8),
        ("horse", "horseback", 0.85),
        ("masachusetts", "massachusetts", 0.96),
        ("lyon", "paris", 0.0),
    ],
)
def test_nearness_by_hand(one: str, other: str, expected: float) -> None:
    assert nearness(one, other) == pytest.approx(expected)
    assert nearness(other, one) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("vertebrate", "invertebrate", True),
        ("exothermic", "endothermic", True),
        ("increases", "decreases", True),
        ("vascular", "vascular", False),
        ("solvent", "solute", False),
    ],
)
def test_opposites(one: str, other: str, expected: bool) -> None:
    assert opposite(one, other) == expected


def test_a_pair_by_hand() -> None:
    answer = ("Membranes, cells", ["membranes", "cells"], [False, True])
    found = word_features(answer, [("zygote", ["zygote"], [False]), ("Membrane", ["membrane"], [False])])
    assert tuple(found) == WORD_FEATURES
    weights = [9, 5 * 0.3]
    assert found["near_precision"] == pytest.approx(0.85 * weights[0] / sum(weights))
    assert found["near_recall"] == found["near_first"] == found["near_words_of_gold"] == 0.85
    assert (found["near_last"], found["near_not_equal"], found["longest_extra"]) == (0.0, 1.0, 0.0)
    assert (found["parts_of_answer"], found["parts_more"]) == (2.0, 1.0)
    assert (found["capitals_of_answer"], found["capitals_of_gold"]) == (0.5, 1.0)


def test_texts_without_words_have_zeros() -> None:
    assert set(word_features(("?", [], []), [("Ann", ["ann"], [False])]).values()) == {0.0}
    assert set(word_features(("Ann", ["ann"], [False]), []).values()) == {0.0}


def test_stop_words_count_where_there_is_nothing_else() -> None:
    assert features("who is it", "It", ["it"])["near_f1"] == 1.0
    assert features("who is it", "Ann is it", ["Ann"])["near_f1"] == 1.0
