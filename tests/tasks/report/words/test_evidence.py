import pytest

from tasks.report.words.evidence import NO_SET, called, few_kept, overall
from tests.tasks.report_records import entry, kept


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


def test_a_share_that_says_nothing_has_its_reason() -> None:
    table = kept(0.5)
    assert few_kept(table) == {}
    nq, wikiqa = table["generation"]["sets"].values()
    nq["accuracy_before"] = 0.15  # 9 of 60
    nq["preference"] = {"n": 40, "accuracy_before": 0.225, "retention": entry(0.5)}
    assert few_kept(table) == {
        "nq, accuracy": "the dense model answers 9 of 60: too few for a share",
        "nq, preference": "the dense model prefers an accepted answer in 9 of 40: too few for a share",
    }
    # The mean is of the other set, of which there are too few questions.
    wikiqa |= {"n": 19, "accuracy_before": 1.0}
    reasons = few_kept(table)
    assert reasons["mean of the sets"] == "too few questions to say (wikiqa: 19)"
    assert reasons["wikiqa, accuracy"] == "too few questions to say (wikiqa: 19)"
    wikiqa["accuracy_before"] = 0.0
    assert few_kept(table)["mean of the sets"] == NO_SET
    wikiqa["gold_nll"]["n"] = 12
    few = "too few questions to say (wikiqa: 12)"
    reasons = few_kept(table)
    assert (reasons["wikiqa, gold loss"], reasons["mean of the sets, gold loss"]) == (few, few)
    assert "nq, gold loss" not in reasons
