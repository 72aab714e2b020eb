import pytest

from avss_core.judges.numerals import months, numbers, years


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", set()),
        ("no number and none", set()),
        ("1,200 days; 3.5 km", {1200, 3.5}),
        ("the 21st of the 1990s", {21, 1990}),
        ("one thousand, eight hundred and eighty-three", {1883}),
        ("two thousand and four", {2004}),
        ("5 million people", {5_000_000}),
        ("a hundred and one", {101}),
        ("forty-nine", {49}),
        ("three and four", {3, 4}),
        ("2004 and 2005", {2004, 2005}),
        ("the second", {2}),
        ("World War II", {2}),
        ("B12 at 1920x1080", {12, 1920, 1080}),
        ("12\u00a0April\u00a01979", {12, 1979}),
    ],
)
def test_numbers(text: str, expected: set[float]) -> None:
    assert numbers(text) == expected


def test_years_are_whole_numbers_from_1000_to_2100() -> None:
    assert years(numbers("999, 1000, 1999.5, 2100 and 2101")) == {1000, 2100}


def test_months_by_name_and_by_three_letters() -> None:
    assert months("May 18, Sept., dec and January") == {5, 12, 1}
    assert months("marching") == set()
