from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.judges.judges import DEFAULT_JUDGE, F1_CORRECT, JUDGES, ROUGE_L_CORRECT, default_judge, judge
from avss_core.judges.normalisation import normalise, rouge_l

LEXICAL = ("exact", "contains", "f1", "rouge_l")
OFFLINE = (*LEXICAL, "fitted_lexical")


def verdict(name: str, answer: str, golds: Sequence[str]) -> bool:
    (found,) = judge(name).verdicts([("Who?", answer, golds)])
    return found


@pytest.mark.parametrize("name", JUDGES)
@pytest.mark.parametrize("answer", ["", "Paris"])
def test_one_string_as_golds_is_refused(name: str, answer: str) -> None:
    with pytest.raises(TypeError, match=r"'Paris': write \['Paris'\]"):
        verdict(name, answer, "Paris")


@pytest.mark.parametrize("name", LEXICAL)
@given(answer=st.text(), golds=st.lists(st.text(), max_size=3), more=st.text())
def test_another_alias_never_makes_an_answer_wrong(
    name: str, answer: str, golds: list[str], more: str
) -> None:
    found = verdict(name, answer, golds)
    assert type(found) is bool
    assert verdict(name, answer, [*golds, more]) == (found or verdict(name, answer, [more]))
    assert verdict(name, answer, golds[::-1]) == found


@pytest.mark.parametrize("name", JUDGES)
@given(answer=st.text())
def test_an_answer_with_a_word_matches_itself_and_one_without_nothing(name: str, answer: str) -> None:
    assert verdict(name, answer, [answer, "", "?"]) == (normalise(answer) != "")


@pytest.mark.parametrize("name", OFFLINE)
def test_many_answers_are_judged_as_each_alone(name: str) -> None:
    rows = [("Who?", "Jane Doe", ["Doe"]), ("When?", "in 1901", ["1902", "1903"]), ("What?", "", ["x"])]
    assert judge(name).verdicts(rows) == [judge(name).verdicts([row])[0] for row in rows]
    assert judge(name).verdicts([]) == []


def test_f1_verdict_at_its_threshold() -> None:
    assert F1_CORRECT == 0.5
    assert verdict("f1", "red", ["red cat dog"])
    assert not verdict("f1", "red", ["red cat dog blue"])


def test_rouge_l_verdict_at_its_threshold() -> None:
    assert ROUGE_L_CORRECT == 0.5
    assert not verdict("rouge_l", "red", ["red cat dog blue"])
    # One half by hand, 2 * shared / (4 * shared), which the package's rounding often puts just below.
    texts = [
        (" ".join(["s"] * shared + ["x"] * more), [" ".join(["s"] * shared + ["y"] * (2 * shared - more))])
        for shared in range(1, 12)
        for more in range(2 * shared + 1)
    ]
    assert min(rouge_l(*text) for text in texts) < 0.5
    assert all(verdict("rouge_l", *text) for text in texts)


def test_table_names_are_the_records_own() -> None:
    assert list(JUDGES) == [*LEXICAL, "fitted", "fitted_lexical"]
    assert all(name == record.name and record.reference for name, record in JUDGES.items())


def test_default_judges_exist() -> None:
    assert set(DEFAULT_JUDGE) == {"nq", "sciq", "triviaqa", "truthfulqa", "wikiqa"}
    assert {default_judge(name) for name in [*DEFAULT_JUDGE, "my_questions"]} == {"fitted"}


def test_an_unknown_judge_is_refused_with_near_matches() -> None:
    with pytest.raises(
        LookupError, match=r"unknown judge 'rouge': did you mean rouge_l\? known judges: exact, "
    ):
        judge("rouge")
    with pytest.raises(LookupError, match="unknown judge 'zzz': known judges: exact, contains, f1, rouge_l"):
        judge("zzz")
