import pytest

from tasks.report.words.wording import (
    change_text,
    figure_text,
    interval_text,
    joined,
    layers_text,
    moved,
    number,
    share_kept,
    significant,
)
from tests.tasks.report_records import entry


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "\u2014"), (77, "77.00"), (29.7, "29.70"), (0.0, "0.000"), (-1234, "\u22121234")],
)
def test_significant_digits_keep_their_zeros(value: float | None, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2014"),
        (0.0, "0.000"),
        (-0.0001, "0.000"),
        (-1.5, "\u22121.500"),
        (12345.6, "12,345.600"),
        (1, "1.000"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_figures_have_their_unit() -> None:
    assert figure_text("accuracy", 0.125) == "12.5\u00a0%"
    assert figure_text("ece", 0.125) == "0.125"
    assert figure_text("ece", None) == "\u2014"
    assert interval_text("accuracy", entry(None)) == ""
    assert interval_text("brier", entry(0.5)) == "[0.450, 0.550]"
    assert change_text("accuracy", entry(0.25)) == "+25.0\u00a0points [20.0, 30.0]"
    assert change_text("ece", {"value": 1e-6, "low": -1e-6, "high": 2e-6}) == "0.000 [0.000, 0.000]"
    assert change_text("ece", entry(None)) == "\u2014"


@pytest.mark.parametrize(
    ("name", "before", "after", "text"),
    [
        ("accuracy", 0.6, 0.16, "fell from 60.0\u00a0% to 16.0\u00a0%"),
        ("nll", 3.0, 3.75, "rose from 3.000 to 3.750"),
        ("nll", 3.0, 3.0001, "stayed at 3.000"),
        ("ece", None, 0.5, "went from \u2014 to 0.500"),
    ],
)
def test_a_change_is_said_with_both_numbers(
    name: str, before: float | None, after: float | None, text: str
) -> None:
    assert moved(name, before, after) == text


def test_lists_in_a_sentence() -> None:
    assert [joined(items) for items in ((), ("nq",), (1, 2), "abc")] == ["", "nq", "1 and 2", "a, b and c"]
    assert [layers_text(layers) for layers in ([2], [2, 3])] == ["layer 2", "layers 2 and 3"]


def test_a_share_kept_says_why_it_has_no_interval() -> None:
    assert share_kept(entry(0.5)) == "50.0\u00a0% [45.0, 55.0]"
    assert share_kept(entry(0.5), "too few") == "50.0\u00a0%, too few"
    assert share_kept(entry(None)) == "nothing to keep"
