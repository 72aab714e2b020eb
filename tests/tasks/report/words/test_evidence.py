import pytest

from tasks.report.words.evidence import called, overall
from tests.tasks.report_records import entry


@pytest.mark.parametrize(
    ("figure", "n", "accuracies", "expected"),
    [
        ("accuracy", 19, (0.5, 0.25), "unsure"),
        ("accuracy", 20, (0.5, 0.25), "worse"),
        ("accuracy", 20, (0.5, 0.0), "worse"),
        ("brier", 20, (0.5, 0.25), "better"),
        ("brier", 20, (0.5, 0.0), "hollow"),
        ("ece", 20, (0.0, 0.5), "hollow"),
        ("ece", 19, (0.0, 0.5), "unsure"),
    ],
)
def test_a_change_is_called_better_or_worse_only_of_enough_questions_and_a_right_answer(
    figure: str, n: int, accuracies: tuple[float, float], expected: str
) -> None:
    sides = [{"n": n, "accuracy": {"value": value}} for value in accuracies]
    assert called(figure, entry(-0.2), sides) == expected
    assert called("ece", entry(0.0), [{"n": 20, "accuracy": {"value": 0.0}}]) == "same"


@pytest.mark.parametrize(
    ("tones", "expected"),
    [
        ((), "unsure"),
        (("unsure", "unsure"), "unsure"),
        (("unsure", "same", "hollow"), "same"),
        (("better", "same"), "better"),
        (("worse", "unsure"), "worse"),
        (("better", "worse"), "mixed"),
        (("mixed", "better"), "mixed"),
    ],
)
def test_tones_together_say_what_they_agree_on(tones: tuple[str, ...], expected: str) -> None:
    assert overall(tones) == expected
