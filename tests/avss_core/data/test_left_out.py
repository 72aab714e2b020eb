import pytest

from avss_core.data.left_out import rows_left_out


def counts(duplicates: int, shared: int) -> dict[str, int]:
    parts = dict.fromkeys(("train", "validation", "calibration", "test"), 9)
    return parts | {"duplicates": duplicates, "shared_with_test": shared}


@pytest.mark.parametrize(
    ("duplicates", "shared", "sentence"),
    [
        (1, 0, "faq: 1 row was left out: 1 asked again a question of another row"),
        (0, 1, "faq: 1 row was left out: 1 of train asked a question that is tested"),
        (
            1200,
            3,
            "faq: 1,203 rows were left out: 1,200 asked again a question of another row, 3 of train asked a "
            "question that is tested",
        ),
    ],
)
def test_rows_that_were_left_out_are_counted_by_reason(duplicates, shared, sentence):
    assert rows_left_out({"nq": counts(0, 0), "faq": counts(duplicates, shared)}) == [sentence]


def test_what_cannot_be_right_is_counted_too():
    both = counts(1, 0) | {"wordless": 2, "accepted_as_wrong": 1}
    assert rows_left_out({"faq": both, "nq": counts(0, 0) | {"wordless": 0, "accepted_as_wrong": 3}}) == [
        "faq: 3 rows were left out: 1 asked again a question of another row, 2 had no accepted answer with a "
        "word or a number; 1 wrong answer was left out, accepted in the same row",
        "nq: 3 wrong answers were left out, accepted in the same row",
    ]


def test_nothing_is_said_where_every_row_takes_part():
    assert rows_left_out({"nq": counts(0, 0)}) == []
