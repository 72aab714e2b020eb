"""The first sentences of every kind of run: few, short, and no more than the records allow."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tasks.report.words.opening import LONGEST, opening
from tests.tasks.report_records import Records, changes, entry, kept, named, run_records, without_repair


@pytest.fixture
def records() -> Records:
    """The records by the names that the page gives them."""
    return named(run_records())


def last(records: Records) -> Records:
    """Return what the last model, the healed one, keeps."""
    table: Records = records["healing"]["retention"]["after"]
    return table


def keep(records: Records, share: float) -> None:
    """Let the healed model keep the same share of everything."""
    table = kept(share)
    table["classification"]["sentiment"]["retention"] = entry(share)
    table["language_modelling"]["nll_retention"] = entry(share)
    for own in table["generation"]["sets"].values():
        own["retention"] = entry(share)
    records["healing"]["retention"]["after"] = table


def said(records: Records, minimum: float | None = None) -> list[str]:
    """Return the sentences with plain spaces; all of them are few and short."""
    sentences = [sentence.replace("\u00a0", " ") for sentence in opening(records, minimum)]
    assert len(sentences) <= 5
    for sentence in sentences:
        assert len(sentence.split()) <= LONGEST, sentence
        assert not re.search(r"[.!?] ", sentence), "one sentence each"
        assert sentence[0].isupper() or sentence[0].isdecimal(), sentence
        assert sentence.endswith("."), sentence
    return sentences


def test_a_whole_run_says_what_went_what_was_kept_and_not_to_use_it(records: Records) -> None:
    # kept: text 80 %, answers 62.5 %, sentiment 75 %, each with its interval below 90 %.
    assert said(records) == [
        "1 of 4 layers went, chosen by avss: layer 2.",
        "Repaired and healed, the model keeps 80 % of text, 62 % of answers and 75 % of sentiment.",
        "Right after pruning it was 80 %, 50 % and 75 %.",
        "Training 1 prone layer of the dense model changed none of 10 answer figures for certain.",
        "Do not use it in place of the dense model: text, answers and sentiment stay below 90 %.",
    ]


def test_without_healing_or_repair_the_last_model_speaks(records: Records) -> None:
    records["healing"] = {"enabled": False}
    assert said(records)[1].startswith("Repaired, the model keeps 80 % of text, 56 % of answers and")
    del records["evaluation"]["repaired"]
    records["repair"] = {"enabled": False}
    assert said(records)[1:3] == [
        "The pruned model keeps 80 % of text, 50 % of answers and 75 % of sentiment.",
        "Training 1 prone layer of the dense model changed none of 10 answer figures for certain.",
    ]
    whole = run_records()
    without_repair(whole)
    assert said(named(whole))[1].startswith("Healed, the model keeps")


@pytest.mark.parametrize(
    ("removed", "depth", "score", "expected"),
    [
        ([0], 1, "avss", "1 of 1 layer went, chosen by avss: layer 0."),
        ([12, 3, 13, 14], 30, "avss", "4 of 30 layers went, chosen by avss: layers 3, 12, 13 and 14."),
        ([1], 4, "explicit list", "1 of 4 layers went, named in the settings: layer 1."),
        (
            [*range(12), 20, 22, 23], 60, "avss",
            "15 of 60 layers went, chosen by avss: layers 0 to 11, 20, 22 and 23.",
        ),
        (range(0, 60, 2), 60, "avss", "30 of 60 layers went, chosen by avss: from layer 0 to 58."),
    ],
)  # fmt: skip
def test_what_went_is_listed_as_far_as_a_sentence_reaches(
    records: Records, removed: list[int], depth: int, score: str, expected: str
) -> None:
    records["card"]["layers"] = depth
    records["pruned"]["provenance"] |= {"removed": [*removed], "score": score}
    assert said(records)[0] == expected


def few_reviews(table: Records) -> None:
    table["classification"]["sentiment"]["n"] = 4


def no_reviews(table: Records) -> None:
    table["classification"]["sentiment"]["retention"] = entry(None)


def few_questions(table: Records) -> None:
    for own in table["generation"]["sets"].values():
        own["n"] = 4


def few_right_answers(table: Records) -> None:
    for own in table["generation"]["sets"].values():
        own |= {"n": 50, "accuracy_before": 0.06}
    table["generation"]["mean"] = entry(None)


@pytest.mark.parametrize(
    ("change", "untold"),
    [
        (few_reviews, "sentiment"),
        (no_reviews, "sentiment"),
        (few_questions, "answers"),
        (few_right_answers, "answers"),
    ],
)
def test_nothing_is_said_of_what_too_few_rows_show(
    records: Records, change: Callable[[Records], None], untold: str
) -> None:
    keep(records, 0.97)
    for table in (records["evaluation"]["retention"], last(records)):
        change(table)
    sentences = said(records)
    assert sentences[1].endswith(f"; {untold} cannot be judged.")
    assert sentences[2].count("%") == 2
    assert sentences[-1] == f"Whether to use it is open: too few rows or right answers to judge {untold}."
    # A share that is certainly too low needs no others.
    last(records)["language_modelling"]["nll_retention"] = entry(0.5)
    assert said(records)[-1] == "Do not use it in place of the dense model: text stays below 90 %."


def test_a_run_that_shows_nothing_says_so(records: Records) -> None:
    for table in (records["evaluation"]["retention"], last(records)):
        few_reviews(table)
        few_questions(table)
        table["language_modelling"]["nll_retention"] = entry(None)
    sentences = said(records)
    assert sentences[1] == "Text, answers and sentiment cannot be judged."
    assert (
        sentences[-1]
        == "Whether to use it is open: too few rows or right answers to judge text, answers and sentiment."
    )
    assert len(sentences) == 4


def test_the_line_is_passed_or_missed_only_beyond_the_interval(records: Records) -> None:
    keep(records, 0.97)
    assert said(records)[-1] == "Use it: text, answers and sentiment stay above 90 %."
    records["manifest"]["origin"]["questions"] = "sample"
    assert said(records)[-1] == (
        "All three stay above 90 % on the project's sample: measure on your own data first."
    )
    keep(records, 0.92)  # 87 to 97
    assert said(records)[-1] == ("Whether to use it is open: text, answers and sentiment may lie below 90 %.")
    for lost in (entry(0.84), entry(0.0, half=0.0)):
        last(records)["classification"]["sentiment"]["retention"] = lost
        assert said(records)[-1] == "Do not use it in place of the dense model: sentiment stays below 90 %."


def test_a_gate_has_the_first_word(records: Records) -> None:
    keep(records, 0.85)
    assert said(records, 0.9)[-1] == "Do not use it: 4 figures kept too little for the gate of 90 %."
    keep(records, 0.8)
    assert said(records, 0.755)[-1] == (
        "The gate of 75.5 % held; text, answers and sentiment stay below 90 %: use it with care."
    )
    keep(records, 0.97)
    assert said(records, 0.9)[-1] == (
        "Use it: text, answers and sentiment stay above 90 %, and the gate of 90 % held."
    )
    records["manifest"]["origin"]["text"] = "sample"
    assert said(records, 0.9)[-1] == (
        "The gate of 90 % held on the project's sample: measure on your own data first."
    )
    few_reviews(last(records))
    assert said(records, 0.9)[-1] == ("The gate of 90 % held; sentiment cannot be judged: use it with care.")


def test_a_training_is_better_only_beyond_its_intervals_and_against_its_controls(records: Records) -> None:
    mitigation = records["mitigation"]
    mitigation["mitigated_against_base"] = changes(accuracy=entry(0.2), ece=entry(0.2))
    prone = "Training 1 prone layer of the dense model"
    # Against random layers, accuracy is better on both sets.
    assert said(records)[3] == f"{prone}: 2 of 10 answer figures better, 2 worse."
    mitigation["against_controls"] = {"random": changes()}
    assert said(records)[3] == f"{prone}: 2 of 10 answer figures better, 2 worse, no better than controls."
    mitigation["against_controls"] = {}
    assert said(records)[3] == f"{prone}: 2 of 10 answer figures better, 2 worse, no control trained."


def test_a_training_that_moved_nothing_or_was_asked_too_little_says_so(records: Records) -> None:
    mitigation = records["mitigation"]
    base = records["evaluation"]["dense"]
    for model in (base, mitigation["mitigated"]):
        model["sets"] = {name: {**each, "n": 4} for name, each in model["sets"].items()}
    assert (
        said(records)[3]
        == "Too few questions to say whether training 1 prone layer of the dense model helped."
    )
    mitigation["divergence"] = entry(0.0)
    mitigation["mitigated"]["language_modelling"] = dict(base["language_modelling"])
    assert said(records)[3] == "Training 1 prone layer of the dense model did not measurably move it."


def test_the_longest_words_still_fit(records: Records) -> None:
    records["pruned"]["provenance"] |= {"removed": [*range(1, 100, 9)], "score": "relative_magnitude"}
    records["card"]["layers"] = 1000
    mitigation = records["mitigation"] | {"base": "repaired", "against_controls": {"random": changes()}}
    mitigation["training"] = dict(mitigation["training"]) | {"dense_layers": [*range(48)]}
    mitigation["mitigated_against_base"] = changes(accuracy=entry(0.2))
    assert len(said(records | {"mitigation": mitigation}, 0.125)) == 5


def test_every_run_of_the_project_fits(records: Records) -> None:
    """Whatever a random run keeps, the sentences are few, short and whole."""
    rooms: list[Any] = [None, 0.3, 0.85, 0.9, 0.95, 1.2]
    for share in rooms[1:]:
        keep(records, share)
        for minimum in rooms:
            said(records, minimum)
