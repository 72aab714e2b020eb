import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.judges.features import clip, features, variants


def test_words_by_hand() -> None:
    found = features("who wrote the opera", "Ludwig van Beethoven", ["Beethoven"])
    # One of the answer's three words, all of the gold answer's.
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["recall"] == 1.0
    assert found["f1"] == 0.5
    assert found["gold_in_answer"] == found["last_of_answer"] == found["asks_who"] == 1.0
    assert found["answer_in_gold"] == found["same_first"] == found["asks_when"] == 0.0


def test_words_of_the_question_are_not_new() -> None:
    found = features("which river divides the city", "the river", ["Harlem River"])
    assert found["recall"] == 0.5
    assert found["new_recall"] == 0.0
    assert found["answer_from_question"] == 1.0


def test_stems_match() -> None:
    assert features("what", "gene copies", ["genes copied"])["f1"] == 1.0


def test_the_best_gold_answer_counts() -> None:
    golds = ["Rome", "Paris, France"]
    found = features("where", "paris", golds)
    assert found["recall"] == 0.5
    assert found["most_recall"] == 0.5
    assert found["mean_recall"] == 0.25
    assert features("where", "paris", golds[::-1]) == found


def test_dates() -> None:
    found = features("when did it open", "June 10, 1943", ["10 June 1940"])
    assert found["month_shared"] == found["years_differ"] == 1.0
    assert found["numbers_recall"] == 0.5
    assert features("when", "in 1998", ["August 23, 1998"])["year_shared"] == 1.0
    assert features("how many", "49", ["forty-nine"])["numbers_equal"] == 1.0


def test_negation_and_initials() -> None:
    assert features("is it", "No", ["Yes, it is"])["yes_against_no"] == 1.0
    assert features("is it", "it is not", ["it is"])["negation_differs"] == 1.0
    assert features("who", "UN", ["United Nations"])["initials"] == 1.0


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Paris", "Paris"),
        ("Paris\nQ: and then", "Paris"),
        ("heart user: The heart has", "heart"),
        ("Claude Monet What is the maximum", "Claude Monet"),
        ("Who Framed Roger Rabbit", "Who Framed Roger Rabbit"),
        ("", ""),
    ],
)
def test_what_follows_an_answer_is_cut_off(answer: str, expected: str) -> None:
    assert clip(answer) == expected


def test_bracketed_parts_are_other_names() -> None:
    assert variants("adenosine diphosphate (ADP)") == [
        "adenosine diphosphate (ADP)",
        "adenosine diphosphate",
        "ADP",
    ]
    assert variants("Bath (disambiguation)") == ["Bath (disambiguation)", "Bath"]
    assert variants("Bath") == ["Bath"]


@given(st.text(), st.text(), st.lists(st.text(), min_size=1, max_size=3))
def test_every_text_has_finite_features_of_the_same_names(
    question: str, answer: str, golds: list[str]
) -> None:
    found = features(question, answer, golds)
    assert list(found) == list(features("who", "Paris", ["Paris"]))
    assert all(type(value) is float and value == value and abs(value) < 1e300 for value in found.values())
