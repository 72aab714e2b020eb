from typing import Any

import pytest

from tasks.headline import glance, headline
from tests.tasks.report_records import entry, kept, run_records


@pytest.fixture
def found() -> dict[str, Any]:
    """The records by the names that the page gives them."""
    records = run_records()
    files = {"evaluation": "evaluation/figures.json", "mitigation": "mitigation/figures.json",
             "healing": "healing/figures.json", "pruned": "pruned/certificate.json",
             "card": "dense/model_card.json", "scores": "scores.json",
             "localization": "localization.json"}  # fmt: skip
    return {name: records[file] for name, file in files.items()}


def test_the_first_sentence_says_what_is_kept_and_how_that_stands_to_the_claim(found: dict[str, Any]) -> None:
    # kept: answers 0.5 and sentiment 0.75 lie below 0.9 with their intervals; text 0.8 as well.
    pruned = headline(found)[0]
    assert pruned.tone == "worse"
    assert pruned.text == (
        "Without 1 of 4 layers (2; by avss) it keeps answers 50.0\u00a0% [45.0, 55.0], sentiment 75.0\u00a0% "
        "[70.0, 80.0], text 80.0\u00a0% [75.0, 85.0]. "
        "Against the 90\u00a0% that the paper claims: all surely below."
    )


@pytest.mark.parametrize(
    ("answers", "said", "tone"),
    [
        (0.96, "answers surely above; sentiment, text surely below", "worse"),
        (0.9, "sentiment, text surely below; answers not certain", "worse"),
        (None, "sentiment, text surely below; answers not certain", "worse"),
    ],
)
def test_the_claim_is_met_or_missed_only_beyond_the_interval(
    found: dict[str, Any], answers: float | None, said: str, tone: str
) -> None:
    table = kept(0.5)
    table["generation"]["mean"] = entry(answers)
    found["evaluation"]["retention"] = table
    verdict = headline(found)[0]
    assert verdict.text.endswith(f"claims: {said}.")
    assert verdict.tone == tone


def test_a_model_that_lost_nothing_for_certain_is_not_called_worse(found: dict[str, Any]) -> None:
    table = kept(0.97)
    table["classification"]["sentiment"]["retention"] = entry(1.0)
    table["language_modelling"]["nll_retention"] = entry(0.96)
    found["healing"]["retention"]["after"] = table
    healed = headline(found)[1]
    assert healed.text.startswith("Healed on 1,200 tokens it keeps answers 97.0")
    assert healed.text.endswith("claims: all surely above.")
    assert healed.tone == "same"


def test_the_choice_is_counted_against_every_other_score(found: dict[str, Any]) -> None:
    readings = found["scores"]["readings"]
    readings["avss_output"]["cost"]["over_chosen"] = entry(5.0)  # costs surely more than the choice
    readings["traversal"]["cost"]["over_chosen"] = entry(0.01)
    choice = headline(found)[2]
    assert choice.text == (
        "The choice of avss raises the loss from 3.000 to 3.500 nats a token. Of 2 other scores 1 choose "
        "surely worse, 0 surely better, 1 no different (traversal). 75\u00a0% of resampled texts choose "
        "exactly so; undecided: layers 1, 2."
    )
    assert choice.tone == "better"
    readings["traversal"]["cost"]["over_chosen"] = entry(-0.2)
    choice = headline(found)[2]
    assert "1 surely better (traversal), 0 no different." in choice.text
    assert choice.tone == "worse"


def test_the_prone_layers_and_the_training_are_told(found: dict[str, Any]) -> None:
    prone, trained = headline(found)[3:]
    assert "by eavss_contrast: 2, 0, 3; 1 of 4 have an interval above zero." in prone.text
    # random: accuracy is better by 0.1 on both sets, the other four figures of each are the same.
    assert trained.text.endswith("Surely better / worse than its controls: random 2 / 0.")
    assert trained.tone == "same"
    found["mitigation"]["against_controls"] = {}
    found["mitigation"]["mitigated_against_base"]["nq"]["ece"] = entry(-0.2)
    trained = headline(found)[4]
    assert (
        "1 of 10 answer figures surely better, 0 surely worse; perplexity on text 1.010 times" in trained.text
    )
    assert trained.text.endswith("No control was trained beside it.")
    assert trained.tone == "better"


def test_the_table_has_a_row_for_each_retention_with_its_set(found: dict[str, Any]) -> None:
    table = glance(found)
    assert table["columns"] == ["dense", "pruned keeps", "healed keeps"]
    rows = {row["name"]: row for row in table["rows"]}
    assert rows["nq"]["set"] == "nq"
    assert [cell["text"] for cell in rows["nq"]["cells"]] == ["50.0\u00a0%", "50.0\u00a0%", "62.5\u00a0%"]
    assert rows["answers, mean"]["set"] == ""
    assert [cell["text"] for cell in rows["text, nats a token"]["cells"]] == [
        "3.000",
        "80.0\u00a0%",
        "80.0\u00a0%",
    ]
    found["healing"] = {"enabled": False}
    assert glance(found)["columns"] == ["dense", "pruned keeps"]
