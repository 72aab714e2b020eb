import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.evaluation.demonstrations import fitted_prompt
from avss_core.evaluation.sentiment import sentiment_prompt
from avss_core.training.healing_text import Shares, Sources, healing_windows, text_windows

# With the tokenizer of the tests a token is a byte: "Question: q1\nAnswer: a" has 22 of them.
PAIRS = [(f"q{n}", "a") for n in range(1, 6)]
REVIEWS = [("bad", 0), ("good", 1), ("dull", 0), ("fine", 1)]
NOTHING = Shares(0.0, 0.0, 0.0)


def made(tokenizer: Any, sources: Sources, shares: Shares, **options: Any) -> Any:
    known = {"tokens": 60, "window": 64, "seed": 0} | options
    return healing_windows(tokenizer, sources, shares, **known)


def texts(tokenizer: Any, windows: Any) -> list[str]:
    return [tokenizer.decode(ids) for ids in windows.ids]


def test_text_is_cut_into_consecutive_windows_of_its_share(tokenizer: Any) -> None:
    assert text_windows(range(7), 3) == [(0, 1, 2), (3, 4, 5), (6,)]
    found = made(tokenizer, Sources(range(100)), Shares(1.0, 0.0, 0.0), tokens=10, window=4)
    assert found.ids == ((0, 1, 2, 3), (4, 5, 6, 7), (8, 9))
    assert found.counts["text"] == {"windows": 3, "tokens": 10, "wanted": 10, "too_long": 0}
    assert found.counts["questions"] == {"windows": 0, "tokens": 0, "wanted": 0, "too_long": 0}


def test_text_that_falls_short_is_told_and_not_repeated(tokenizer: Any) -> None:
    found = made(tokenizer, Sources(range(5)), Shares(1.0, 0.0, 0.0), tokens=10, window=4)
    assert found.ids == ((0, 1, 2, 3), (4,))
    assert found.counts["text"]["tokens"] == 5
    assert found.counts["text"]["wanted"] == 10


def test_a_window_holds_the_questions_that_fit_as_the_evaluation_writes_them(tokenizer: Any) -> None:
    found = made(tokenizer, Sources(questions={"nq": PAIRS}), Shares(0.0, 1.0, 0.0), tokens=200, repeat=False)
    assert [len(ids) for ids in found.ids] == [46, 46, 22]  # 22 and 2 and 22; a third would make 70
    asked = []
    for text in texts(tokenizer, found):
        pairs = [tuple(part.removeprefix("Question: ").split("\nAnswer: ")) for part in text.split("\n\n")]
        *shown, (question, answer) = pairs
        assert text == f"{fitted_prompt(tokenizer, shown, question, room=None).text} {answer}"
        asked += pairs
    assert sorted(asked) == PAIRS
    assert asked != PAIRS  # in random order


def test_the_places_of_answers_and_labels_hold_just_them(tokenizer: Any) -> None:
    sources = Sources(questions={"nq": PAIRS}, reviews=REVIEWS)
    found = made(tokenizer, sources, Shares(0.0, 1.0, 1.0), tokens=400, repeat=False)
    assert found.answers.keys() == set(found.ids)
    said = {ids: tokenizer.decode([ids[place] for place in places]) for ids, places in found.answers.items()}
    for ids in found.ids:
        lines = tokenizer.decode(ids).split("\n")
        after = [line.partition(":")[2] for line in lines if line.startswith(("Answer:", "Sentiment:"))]
        assert said[ids] == "".join(after)


def test_text_has_no_answers(tokenizer: Any) -> None:
    found = made(tokenizer, Sources(range(100)), Shares(1.0, 0.0, 0.0))
    assert found.answers == {}


def test_sets_take_turns_and_no_window_mixes_them(tokenizer: Any) -> None:
    sets = {"nq": PAIRS, "sciq": [("s1", "b"), ("s2", "b")]}
    found = made(tokenizer, Sources(questions=sets), Shares(0.0, 1.0, 0.0), tokens=160)
    answers = [set(text.replace("\n\nQ", "\nQ").split("\n")[1::2]) for text in texts(tokenizer, found)]
    assert answers == [{"Answer: a"}, {"Answer: b"}, {"Answer: a"}, {"Answer: b"}]


def test_rows_come_again_in_another_order_where_more_are_asked_for(tokenizer: Any) -> None:
    sources = Sources(questions={"nq": PAIRS})
    once = made(tokenizer, sources, Shares(0.0, 1.0, 0.0), tokens=1000, repeat=False)
    again = made(tokenizer, sources, Shares(0.0, 1.0, 0.0), tokens=1000)
    assert once.counts["questions"]["tokens"] == 114
    assert 1000 <= again.counts["questions"]["tokens"] < 1064
    assert again.ids[:3] == once.ids
    assert set(again.ids[3:6]) != set(once.ids)


def test_reviews_are_written_with_their_label_words(tokenizer: Any) -> None:
    found = made(tokenizer, Sources(reviews=REVIEWS), Shares(0.0, 0.0, 1.0), tokens=500, repeat=False)
    written = {part for text in texts(tokenizer, found) for part in text.split("\n\n")}
    words = (" negative", " positive")
    assert written == {sentiment_prompt(text) + words[label] for text, label in REVIEWS}


def test_a_chat_is_asked_as_the_evaluation_asks_it(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"
    monkeypatch.setattr(tokenizer, "chat_template", template, raising=False)
    sources = Sources(questions={"nq": [("q", "a")]})
    found = made(tokenizer, sources, Shares(0.0, 1.0, 0.0), chat=True, repeat=False)
    assert texts(tokenizer, found) == ["<user>q\n<assistant>a"]


def test_rows_longer_than_a_window_are_skipped_and_counted(tokenizer: Any) -> None:
    sources = Sources(questions={"nq": [*PAIRS, ("long" * 20, "a")]}, reviews=[("long" * 20, 0)])
    found = made(tokenizer, sources, Shares(0.0, 1.0, 1.0), tokens=300, repeat=False)
    assert found.counts["questions"]["too_long"] == 1
    assert found.counts["reviews"] == {"windows": 0, "tokens": 0, "wanted": 150, "too_long": 1}
    assert not any("long" in text for text in texts(tokenizer, found))


def test_a_kind_without_a_row_ends(tokenizer: Any) -> None:
    sources = Sources(questions={"nq": [], "sciq": PAIRS})
    assert made(tokenizer, Sources(questions={"nq": []}), Shares(0.0, 1.0, 0.0)).ids == ()
    assert made(tokenizer, sources, Shares(0.0, 1.0, 0.0)).ids


def test_shares_of_nothing_are_refused(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="the shares of text, own text, questions and reviews are all 0"):
        made(tokenizer, Sources(range(9)), NOTHING)


def test_the_seed_alone_decides_the_order(tokenizer: Any) -> None:
    sources, shares = Sources(range(300), {"nq": PAIRS}, REVIEWS), Shares(1.0, 1.0, 1.0)
    first, same, other = (made(tokenizer, sources, shares, tokens=300, seed=seed) for seed in (0, 0, 1))
    assert first == same
    assert first.ids != other.ids


@given(
    tokens=st.integers(2, 400),
    window=st.integers(40, 80),
    shares=st.tuples(*[st.floats(0, 1)] * 3).filter(lambda parts: sum(parts) > 0.01),
)
def test_each_kind_goes_past_its_share_by_less_than_a_window(
    tokenizer: Any, tokens: int, window: int, shares: tuple[float, float, float]
) -> None:
    sources = Sources(range(1000), {"nq": PAIRS, "sciq": PAIRS}, REVIEWS)
    found = made(tokenizer, sources, Shares(*shares), tokens=tokens, window=window)
    assert all(0 < len(ids) <= window for ids in found.ids)
    for counts in found.counts.values():
        assert counts["wanted"] <= counts["tokens"] < counts["wanted"] + window
    assert sum(counts["windows"] for counts in found.counts.values()) == len(found.ids)
    assert list(itertools.chain(*found.ids[: found.counts["text"]["windows"]])) == list(
        range(found.counts["text"]["tokens"])
    )
