import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.evaluation.demonstrations import demonstrations_for, fitted_prompt
from avss_core.evaluation.prompts import few_shot_prompt
from avss_core.models.encoding import encode

SHOTS = [("Is it on?", "yes"), ("How many?", "7"), ("Where?", "here")]


def test_the_first_demonstrations_are_shown():
    assert demonstrations_for("Who?", SHOTS, 2) == SHOTS[:2]
    assert demonstrations_for("Who?", SHOTS, 0) == []
    assert demonstrations_for("Who?", SHOTS, 9) == SHOTS


@pytest.mark.parametrize("asked", ["Is it on?", "is it ON", "  Is the it: on?!"])
def test_the_question_itself_is_never_shown_and_the_next_takes_its_place(asked):
    assert demonstrations_for(asked, SHOTS, 2) == SHOTS[1:]


def test_a_prompt_with_room_is_whole(tokenizer):
    whole = few_shot_prompt(SHOTS, "Who?")
    for room in (None, len(encode(tokenizer, whole))):
        found = fitted_prompt(tokenizer, SHOTS, "Who?", room=room)
        assert (found.text, found.dropped) == (whole, 0)


@given(room=st.integers(len("Question: Who?\nAnswer:"), 120))
def test_whole_demonstrations_go_from_the_end_and_no_more_than_must(tokenizer, room):
    found = fitted_prompt(tokenizer, SHOTS, "Who?", room=room)
    assert found.text == few_shot_prompt(SHOTS[: len(SHOTS) - found.dropped], "Who?")
    assert len(encode(tokenizer, found.text)) <= room
    if found.dropped:
        longer = few_shot_prompt(SHOTS[: len(SHOTS) - found.dropped + 1], "Who?")
        assert len(encode(tokenizer, longer)) > room


def test_a_question_that_does_not_fit_is_named(tokenizer):
    with pytest.raises(ValueError, match=r"question 'nq-7' alone has 22 tokens, .* room for 21"):
        fitted_prompt(tokenizer, SHOTS, "Who?", room=21, name="nq-7")
