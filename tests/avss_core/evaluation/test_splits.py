import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avss_core.evaluation.splits import (
    Splits,
    check_disjoint,
    drop_duplicates,
    question_key,
    split_rows,
    split_sets,
    stable_fraction,
)

# Few distinct questions, so that duplicates and questions shared between sides and sets are common.
QUESTIONS = st.lists(st.integers(0, 12).map(lambda number: f"what is item {number}?"), max_size=15)
SHARES = st.tuples(st.floats(0, 0.95), st.floats(0, 0.95)).filter(lambda pair: sum(pair) < 1)


def rows(questions, prefix="row"):
    return [{"id": f"{prefix}-{index:03d}", "question": text} for index, text in enumerate(questions)]


def texts(part):
    return [row["question"] for row in part]


def distinct(count):
    return rows(f"question number {index}" for index in range(count))


def sizes(splits):
    return [len(part) for part in splits.parts().values()]


def test_the_key_is_the_digest_of_the_normalised_question():
    assert question_key("Who wrote Hamlet?") == hashlib.sha256(b"who wrote hamlet").hexdigest()


@pytest.mark.parametrize("same", ["who wrote hamlet", "WHO WROTE  HAMLET ?", "Who wrote the Hamlet?"])
def test_questions_that_look_different_have_one_key(same):
    assert question_key(same) == question_key("Who wrote Hamlet?")


def test_composed_and_decomposed_accents_have_one_key():
    assert question_key("caf\u00e9 de paris") == question_key("cafe\u0301 de paris")


def test_other_questions_have_other_keys():
    assert question_key("Who wrote Hamlet?") != question_key("Who wrote Macbeth?")
    assert question_key("誰が書いた") != question_key("何を書いた")


def test_questions_told_apart_by_signs_alone_all_stay():
    asked = ["What is C?", "What is C++?", "What is C#?", "What is 2+2?", "What is 2-2?", "What is 2*2?"]
    kept, dropped = drop_duplicates(rows(asked))
    assert (sorted(texts(kept)), dropped) == (sorted(asked), 0)
    splits = split_sets(
        {"faq": {"train": rows(["What is i+i?"]), "test": rows(["What is i-i?"])}}, 0.0, 0.0, 0
    )
    assert sizes(splits["faq"]) == [1, 0, 0, 1]


def test_the_fraction_is_fixed_for_a_text():
    # sha256("") begins e3b0c44298fc1: 0xe3b0c44298fc1 / 2**52.
    assert stable_fraction("") == 0xE3B0C44298FC1 / 2**52


def test_fractions_are_spread_evenly():
    values = [stable_fraction(f"text {index}") for index in range(2000)]
    assert all(0 <= value < 1 for value in values)
    # Six standard deviations of a share of 0.4 among 2000.
    assert sum(value < 0.4 for value in values) / 2000 == pytest.approx(0.4, abs=6 * (0.24 / 2000) ** 0.5)


def test_no_rows_have_no_duplicates():
    assert drop_duplicates([]) == ([], 0)


def test_the_duplicate_with_the_smallest_id_stays():
    later, other, first = (
        {"id": "b", "question": "Who wrote Hamlet?"},
        {"id": "c", "question": "Who wrote Macbeth?"},
        {"id": "a", "question": "who wrote hamlet"},
    )
    assert drop_duplicates([later, other, first]) == ([first, other], 1)


@given(questions=QUESTIONS)
def test_dropping_duplicates_twice_is_dropping_them_once(questions):
    kept, dropped = drop_duplicates(rows(questions))
    assert drop_duplicates(kept) == (kept, 0)
    assert dropped == len(questions) - len(set(questions))
    assert set(texts(kept)) == set(questions)


def test_ten_rows_by_hand():
    train, seed = distinct(10), 7
    order = sorted(
        train, key=lambda row: hashlib.sha256(f"{seed}:{question_key(row['question'])}".encode()).hexdigest()
    )
    splits = split_rows(train, [], 0.2, 0.3, seed)
    assert splits == Splits(
        validation=order[:2],
        calibration=order[2:5],
        train=order[5:],
        test=[],
        duplicates=0,
        shared_with_test=0,
    )


def test_the_test_keeps_its_rows_and_the_train_side_loses_them():
    train = rows(["What is A1?", "what is b2", "what is c3", "what is c3"])
    test = rows(["what is a1", "what is z9", "What is Z9?"], "test")
    splits = split_rows(train, test, 0.0, 0.0, 0)
    assert sorted(texts(splits.train)) == ["what is b2", "what is c3"]
    assert sorted(texts(splits.test)) == ["what is a1", "what is z9"]
    assert (splits.duplicates, splits.shared_with_test) == (2, 1)


def test_questions_held_out_by_other_sets_are_dropped():
    train = distinct(4)
    splits = split_rows(train, [], 0.0, 0.0, 0, held_out={question_key(train[2]["question"])})
    assert sorted(texts(splits.train)) == texts([train[0], train[1], train[3]])
    assert splits.shared_with_test == 1


@pytest.mark.parametrize(
    ("count", "validation", "calibration", "expected"),
    [
        (0, 0.1, 0.1, [0, 0, 0, 0]),
        (1, 0.1, 0.1, [1, 0, 0, 0]),
        (2, 0.1, 0.1, [2, 0, 0, 0]),
        (3, 0.1, 0.1, [1, 1, 1, 0]),
        (3, 0.9, 0.05, [1, 1, 1, 0]),
        (4, 0.05, 0.94, [1, 1, 2, 0]),
        (10, 0.0, 0.0, [10, 0, 0, 0]),
        (10, 0.0, 0.5, [5, 0, 5, 0]),
        (100, 0.29, 0.1, [61, 29, 10, 0]),
    ],
)
def test_sizes(count, validation, calibration, expected):
    assert sizes(split_rows(distinct(count), [], validation, calibration, 0)) == expected


def test_another_seed_chooses_other_rows_and_the_same_test_order():
    train, test = distinct(40), rows([f"tested {index}" for index in range(20)], "test")
    one, two = (split_rows(train, test, 0.2, 0.2, seed) for seed in (0, 1))
    assert texts(one.validation) != texts(two.validation)
    assert one.test == two.test
    assert one.test != test


@pytest.mark.parametrize(
    ("validation", "calibration", "message"),
    [
        (-0.1, 0.1, r"validation share is -0\.1"),
        (0.1, 1.5, r"calibration share is 1\.5"),
        (float("nan"), 0.1, "validation share is nan"),
        (0.5, 0.5, r"validation 0\.5 and calibration 0\.5 leave no train rows"),
        (1.0, 0.0, r"validation 1\.0 and calibration 0\.0 leave no train rows"),
    ],
)
def test_shares_that_leave_nothing_are_refused(validation, calibration, message):
    with pytest.raises(ValueError, match=message):
        split_rows(distinct(5), [], validation, calibration, 0)


@given(data=st.data(), train=QUESTIONS, test=QUESTIONS, shares=SHARES, seed=st.integers(0, 3))
def test_the_order_of_the_file_does_not_matter(data, train, test, shares, seed):
    train_rows, test_rows = rows(train), rows(test, "test")
    shuffled = data.draw(st.permutations(train_rows)), data.draw(st.permutations(test_rows))
    assert split_rows(*shuffled, *shares, seed) == split_rows(train_rows, test_rows, *shares, seed)


@given(train=QUESTIONS, test=QUESTIONS, shares=SHARES, seed=st.integers(0, 3))
def test_every_row_is_in_one_part_or_counted_as_dropped(train, test, shares, seed):
    splits = split_rows(rows(train), rows(test, "test"), *shares, seed)
    kept = [text for part in splits.parts().values() for text in texts(part)]
    assert sorted(kept) == sorted(set(train) | set(test))
    assert len(kept) + splits.duplicates + splits.shared_with_test == len(train) + len(test)
    assert set(texts(splits.test)) == set(test)


@given(count=st.integers(3, 60), shares=SHARES, seed=st.integers(0, 3))
def test_three_rows_or_more_give_every_part_that_is_asked_for_a_row(count, shares, seed):
    splits = split_rows(distinct(count), [], *shares, seed)
    for share, part in zip(shares, (splits.validation, splits.calibration), strict=True):
        assert (len(part) >= 1) == (share > 0)
    assert len(splits.train) >= 1


SIDES = st.fixed_dictionaries({"train": QUESTIONS, "test": QUESTIONS})


@given(questions=st.dictionaries(st.sampled_from("abc"), SIDES, max_size=3), shares=SHARES)
def test_sets_share_no_question_between_their_parts(questions, shares):
    raw = {
        name: {side: rows(asked, f"{name}-{side}") for side, asked in sides.items()}
        for name, sides in questions.items()
    }
    splits = split_sets(raw, *shares, 0)
    tested = {text for sides in questions.values() for text in sides["test"]}
    trained = [
        text for own in splits.values() for text in texts(own.train + own.validation + own.calibration)
    ]
    assert len(trained) == len(set(trained))
    assert set(trained) == {text for sides in questions.values() for text in sides["train"]} - tested
    for name, sides in questions.items():
        assert set(texts(splits[name].test)) == set(sides["test"])
        dropped = splits[name].duplicates + splits[name].shared_with_test
        assert sum(sizes(splits[name])) + dropped == len(sides["train"]) + len(sides["test"])


def test_the_rule_across_sets_by_hand():
    raw = {
        "b": {
            "train": rows(["shared train", "tested in a", "tested in both", "only b"]),
            "test": rows(["tested in both"]),
        },
        "a": {
            "train": rows(["Shared train?", "tested in both", "only a"]),
            "test": rows(["tested in a", "tested in both"]),
        },
    }
    splits = split_sets(raw, 0.0, 0.0, 0)
    assert sorted(texts(splits["a"].train)) == ["Shared train?", "only a"]
    assert texts(splits["b"].train) == ["only b"]
    assert (splits["a"].duplicates, splits["a"].shared_with_test) == (0, 1)
    # "shared train" stays in a; "tested in both" is no duplicate of a row that a dropped too.
    assert (splits["b"].duplicates, splits["b"].shared_with_test) == (1, 2)
    assert texts(splits["b"].test) == ["tested in both"]


def test_no_sets_have_no_splits():
    assert split_sets({}, 0.1, 0.1, 0) == {}


def test_a_question_in_two_parts_of_one_set_is_named():
    splits = split_rows(distinct(5), [], 0.2, 0.2, 0)
    leaked = replace(splits, test=[{"id": "t", "question": splits.validation[0]["question"].upper() + "?"}])
    with pytest.raises(
        ValueError, match=r"'QUESTION NUMBER \d\?' is in the validation part of a and .* test"
    ):
        check_disjoint({"a": leaked})


def test_a_question_in_parts_of_two_sets_is_named():
    one = split_rows(rows(["asked twice"]), [], 0.0, 0.0, 0)
    two = split_rows([], rows(["asked twice"]), 0.0, 0.0, 0)
    with pytest.raises(ValueError, match="'asked twice' is in the train part of a and in the test part of b"):
        check_disjoint({"a": one, "b": two})


def test_a_question_that_two_sets_test_is_no_leak():
    splits = split_rows([], rows(["asked twice"]), 0.0, 0.0, 0)
    check_disjoint({"a": splits, "b": splits})
