import pytest

from tasks.data.left_out import rows_left_out


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
            "faq: 1,203 rows were left out: 1,200 asked again a question of another row and 3 of train asked "
            "a question that is tested",
        ),
    ],
)
def test_rows_that_were_left_out_are_counted_by_reason(duplicates, shared, sentence):
    assert rows_left_out({"nq": counts(0, 0), "faq": counts(duplicates, shared)}) == [sentence]


def test_nothing_is_said_where_every_row_takes_part():
    assert rows_left_out({"nq": counts(0, 0)}) == []
