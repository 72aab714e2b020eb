from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.hallucination.own_answers import COUNTS, OwnAnswer, OwnPair, choose_pair


def right(text: str) -> OwnAnswer:
    return OwnAnswer(text, True)


def wrong(text: str) -> OwnAnswer:
    return OwnAnswer(text, False)


@pytest.mark.parametrize(
    ("answers", "pair", "counted"),
    [
        # The greedy answer stands for its kind, the earliest draw for the other.
        ([right("Ada"), right("Ada L"), wrong("Bob"), wrong("Eve")], OwnPair("Ada", "Bob"),
         {"both_kinds": 1, "right": 2, "wrong": 2}),
        ([wrong("Bob"), wrong("Eve"), right("Ada"), right("Ada L")], OwnPair("Ada", "Bob"),
         {"both_kinds": 1, "right": 2, "wrong": 2}),
        # Without a word in the greedy answer the earliest draws stand for both.
        ([wrong(""), wrong("Bob"), wrong("."), right("Ada")], OwnPair("Ada", "Bob"),
         {"both_kinds": 1, "right": 1, "wrong": 1, "empty": 2}),
        # An answer that only repeats one is no answer of the other kind, whatever the judge says.
        ([right("The Ada"), wrong("ada!"), right("Ada")], None,
         {"only_right": 1, "right": 1, "duplicate": 2}),
        ([wrong("Bob"), wrong("bob"), wrong("Eve")], None, {"only_wrong": 1, "wrong": 2, "duplicate": 1}),
        ([wrong(""), wrong("..."), wrong(" ")], None, {"wordless": 1, "empty": 3}),
        ([], None, {"wordless": 1}),
    ],
)  # fmt: skip
def test_hand_made_cases(answers, pair, counted):
    counts = Counter()
    assert choose_pair(answers, counts) == pair
    assert counts == Counter({"questions": 1, "answers": len(answers), **counted})


@given(
    st.lists(
        st.lists(
            st.builds(OwnAnswer, st.sampled_from(["", ".", "a b", "B", "b", "c"]), st.booleans()), max_size=6
        )
    )
)
def test_every_question_and_every_answer_is_counted_once(questions):
    counts = Counter()
    pairs = [choose_pair(answers, counts) for answers in questions]
    assert set(counts) <= set(COUNTS)
    assert counts["questions"] == len(questions) == sum(counts[name] for name in COUNTS[1:5])
    assert counts["answers"] == sum(map(len, questions)) == sum(counts[name] for name in COUNTS[6:])
    assert counts["both_kinds"] == sum(pair is not None for pair in pairs)
    for pair, answers in zip(pairs, questions, strict=True):
        if pair is not None:
            assert right(pair.accepted) in answers
            assert wrong(pair.rejected) in answers
