import pytest

from avss_core.evaluation.answerable import answerable
from avss_core.judges.judges import JUDGES

OFFLINE = [name for name in JUDGES if name != "fitted"]


def row(answers, wrong=()):
    return {"id": "q", "question": "Who?", "answers": answers, "wrong_answers": list(wrong)}


@pytest.mark.parametrize("answers", [["?"], ["...", " "], ["\U0001f681"], ["+"]])
def test_rows_without_an_answer_that_can_be_right_are_left_out_and_counted(answers):
    assert not any(JUDGES[name].verdicts([("Who?", answers[0], answers)])[0] for name in OFFLINE)
    kept = answerable([row(answers), row(["Ada"])])
    assert (kept.rows, kept.wordless, kept.accepted_as_wrong) == ([row(["Ada"])], 1, 0)


def test_one_answer_with_a_word_is_enough():
    assert answerable([row(["?", "Ada"])]).rows == [row(["?", "Ada"])]


def test_a_wrong_answer_that_is_accepted_is_left_out_and_the_row_stays():
    kept = answerable(
        [row(["Ada Lovelace", "1,000"], ["ada lovelace.", "1000", "Bob", "?"]), row(["-5"], ["5"])]
    )
    assert kept.rows == [row(["Ada Lovelace", "1,000"], ["Bob", "?"]), row(["-5"], ["5"])]
    assert (kept.wordless, kept.accepted_as_wrong) == (0, 2)


def test_no_row_is_changed_in_place():
    given = row(["Ada"], ["Ada"])
    assert answerable([given]).rows == [row(["Ada"])]
    assert given == row(["Ada"], ["Ada"])
