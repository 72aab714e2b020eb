from typing import Any

import pytest

from tasks.report.headline import glance, headline
from tasks.report.words.wording import Verdict
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
        "[70.0, 80.0], text 80.0\u00a0% [75.0, 85.0] (a ratio of losses; perplexity 2.00 times). "
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
        "The choice of avss is cheaper than 1 of 2 other choices, dearer than 0, no different from 1 "
        "(traversal). It raises the loss from 3.000 to 3.500 nats a token. 75\u00a0% of resampled texts "
        "choose exactly so; undecided: layers 1, 2."
    )
    assert choice.tone == "better"
    readings["traversal"]["cost"]["over_chosen"] = entry(-0.2)
    choice = headline(found)[2]
    assert "cheaper than 1 of 2 other choices, dearer than 1 (traversal), no different from 0." in choice.text
    assert choice.tone == "worse"


def test_the_prone_layers_and_the_training_are_told(found: dict[str, Any]) -> None:
    prone, trained = headline(found)[3:]
    assert prone == Verdict(
        "fact",
        "Layers most prone to wrong answers. Highest by eavss_contrast: 2, 0, 3. Above zero beyond its "
        "interval: 2 alone. A linear probe, the check from outside, agrees with Kendall's tau \u2014.",
    )
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


def test_too_few_questions_are_never_better_worse_or_sure(found: dict[str, Any]) -> None:
    retention = found["evaluation"]["retention"]
    retention["generation"]["sets"]["nq"]["n"] = 19
    pruned = headline(found)[0]
    said = "claims: sentiment, text surely below. Answers: too few questions to say (nq: 19)."
    assert pruned.text.endswith(said)
    assert "answers 50" not in pruned.text
    retention["classification"]["sentiment"]["n"] = 12
    retention["language_modelling"]["nll_retention"] = entry(1.0)
    pruned = headline(found)[0]
    assert pruned.tone == "same"
    assert pruned.text.endswith("Sentiment: too few reviews to say (12).")
    cells = {row["name"]: row["cells"][1]["interval"] for row in glance(found)["rows"]}
    assert cells["nq"] == cells["answers, mean"] == "too few questions to say (nq: 19)"
    assert cells["sentiment"] == "too few reviews to say (12)"
    assert cells["wikiqa"] == "[45.0, 55.0]"
    retention["generation"]["sets"]["nq"]["n"] = 20
    assert "answers 50" in headline(found)[0].text


def test_layers_and_probe_of_too_few_questions_say_nothing(found: dict[str, Any]) -> None:
    found["localization"] |= {"questions": 5, "probe_questions": 1, "most_prone": [0, 1, 3, 2]}
    assert headline(found)[3] == Verdict(
        "unsure",
        "Layers most prone to wrong answers: 5 questions are too few to say. Highest by eavss_contrast: "
        "0, 1, 3. Above zero beyond its interval: 2 alone. The probe was measured on 1 question, which says "
        "nothing.",
    )
    found["localization"]["readings"]["eavss_contrast"]["low"] = [0.0] * 4
    assert "Above zero beyond its interval: none." in headline(found)[3].text


@pytest.mark.parametrize(
    ("divergence", "perplexity", "still"), [(4e-4, 1.0004, True), (6e-4, 1.0, False), (0.0, 1.0006, False)]
)
def test_a_training_that_moved_nothing_says_so(
    found: dict[str, Any], divergence: float, perplexity: float, still: bool
) -> None:
    mitigation = found["mitigation"]
    mitigation["divergence"] = entry(divergence)
    base = found["evaluation"]["dense"]["language_modelling"]["token_perplexity"]
    mitigation["mitigated"]["language_modelling"]["token_perplexity"] = perplexity * base
    mitigation["training"] |= {"steps": [{}], "train_pairs": 4}
    said = "1 step on 4 pairs: the model practically did not move; more rows or epochs are needed."
    assert headline(found)[4].text.endswith(said) == still


def test_a_training_is_not_judged_by_few_questions_or_by_confidence_in_wrong_answers(
    found: dict[str, Any],
) -> None:
    mitigation, dense = found["mitigation"], found["evaluation"]["dense"]
    mitigation["mitigated_against_base"]["nq"]["brier"] = entry(-0.2)
    assert headline(found)[4].tone == "better"
    wrong = {**mitigation["mitigated"]["sets"]["nq"], "accuracy": entry(0.0)}
    mitigation["mitigated"]["sets"] = {**mitigation["mitigated"]["sets"], "nq": wrong}
    trained = headline(found)[4]
    assert trained.tone == "same"
    assert "0 of 10 answer figures surely better" in trained.text
    small = {"nq": {**wrong, "n": 4}, "wikiqa": {**wrong, "n": 19}}
    mitigation["mitigated"]["sets"], dense["sets"] = small, small
    trained = headline(found)[4]
    assert trained.tone == "unsure"
    assert "Too few questions to say (nq: 4, wikiqa: 19)." in trained.text
    assert "surely" not in trained.text
