from typing import Any

import pytest

from tasks.report.page_context import glance
from tasks.report.words.headline import headline
from tests.tasks.report_records import entry, kept, named, run_records


@pytest.fixture
def records() -> dict[str, Any]:
    """The records by the names that the page gives them."""
    return named(run_records())


def test_the_first_sentence_compares_what_is_kept_with_the_claim(records: dict[str, Any]) -> None:
    # kept: answers 0.5 and sentiment 0.75 lie below 0.9 with their intervals; text 0.8 as well.
    pruned = headline(records)[0]
    assert pruned.tone == "worse"
    for said in (
        "Without 1 of 4 layers (2; chosen by avss) the model keeps 50.0\u00a0% [45.0, 55.0] of its accuracy",
        "on questions, 75.0\u00a0% [70.0, 80.0] of its accuracy on sentiment and 80.0\u00a0% [75.0, 85.0]",
        "(dense loss over its own; perplexity is 2.00 times as high)",
        "Against the 90\u00a0% that the paper claims: questions, sentiment and text below.",
    ):
        assert said in pruned.text


@pytest.mark.parametrize(
    ("answers", "said", "tone"),
    [
        (0.96, "sentiment and text below; questions above.", "worse"),
        (0.9, "sentiment and text below; questions not certain.", "worse"),
        (None, "sentiment and text below. Questions: nothing to keep.", "worse"),
    ],
)
def test_the_claim_is_met_or_missed_only_beyond_the_interval(
    records: dict[str, Any], answers: float | None, said: str, tone: str
) -> None:
    table = kept(0.5)
    table["generation"]["mean"] = entry(answers)
    records["evaluation"]["retention"] = table
    verdict = headline(records)[0]
    assert verdict.text.endswith(f"claims: {said}")
    assert verdict.tone == tone


def test_a_model_that_lost_nothing_for_certain_is_not_called_worse(records: dict[str, Any]) -> None:
    table = kept(0.97)
    table["classification"]["sentiment"]["retention"] = entry(1.0)
    table["language_modelling"]["nll_retention"] = entry(0.96)
    records["healing"]["retention"]["after"] = table
    healed = headline(records)[2]
    assert healed.text.startswith("After healing on 1,200 tokens the model keeps 97.0\u00a0%")
    assert healed.text.endswith("claims: questions, sentiment and text above.")
    assert healed.tone == "same"


def test_the_choice_is_counted_against_every_other_score(records: dict[str, Any]) -> None:
    readings = records["scores"]["readings"]
    readings["avss_output"]["cost"]["over_chosen"] = entry(5.0)  # costs surely more than the choice
    readings["traversal"]["cost"]["over_chosen"] = entry(0.01)
    choice = headline(records)[3]
    assert choice.text.startswith("The loss on calibration text rose from 3.000 to 3.500 nats per token")
    assert (
        "Of 2 other scores, 1 cost more, 0 cost less and 1 cost the same within the interval" in choice.text
    )
    assert "(traversal)" in choice.text
    assert choice.text.endswith(
        "75\u00a0% of resampled texts give exactly this choice; layers 1 and 2 undecided."
    )
    assert choice.tone == "better"
    readings["traversal"]["cost"]["over_chosen"] = entry(-0.2)
    choice = headline(records)[3]
    assert "1 cost more, 1 cost less (traversal) and 0 cost the same" in choice.text
    assert choice.tone == "worse"


def test_a_choice_on_too_little_text_is_not_called_sure(records: dict[str, Any]) -> None:
    del records["scores"]["stability"]["avss"]
    records["scores"]["thin"] = {"avss": 1}
    choice = headline(records)[3]
    assert choice.text.endswith(
        "Too little text to say how sure the choice is: 1 window or part, and it takes 4."
    )
    assert choice.tone == "unsure"


def test_the_prone_layers_and_the_training_are_told(records: dict[str, Any]) -> None:
    prone, trained = headline(records)[4:]
    assert prone.tone == "fact"
    assert prone.text.startswith("Layers 2, 0 and 3 are the most prone to hallucinate by eavss_contrast.")
    assert "1 of 4 layers have an interval wholly above zero (2)." in prone.text
    assert prone.text.endswith("Kendall's tau with a linear probe, an independent check, is \u2014.")
    # random: accuracy is better by 0.1 on both sets, the other four figures of each are the same.
    assert trained.text.endswith("Against its controls: 2 better, 0 worse than random.")
    assert trained.tone == "same"
    records["mitigation"]["against_controls"] = {}
    records["mitigation"]["mitigated_against_base"]["nq"]["ece"] = entry(-0.2)
    trained = headline(records)[5]
    assert (
        "1 of 10 figures of answers are better and 0 worse; perplexity on text is 1.010 times" in trained.text
    )
    assert trained.text.endswith("No control was trained.")
    assert trained.tone == "better"


def test_the_table_has_a_row_for_each_retention_with_its_set(records: dict[str, Any]) -> None:
    table = glance(records)
    assert table["columns"] == ["dense", "pruned keeps", "repaired keeps", "healed keeps"]
    rows = {row["name"]: row for row in table["rows"]}
    assert rows["nq"]["set"] == "nq"
    assert [cell["text"] for cell in rows["nq"]["cells"]] == [
        "50.0\u00a0%",
        "50.0\u00a0%",
        "56.2\u00a0%",
        "62.5\u00a0%",
    ]
    assert rows["answers, mean"]["set"] == ""
    assert [cell["text"] for cell in rows["text, nats per token"]["cells"]] == [
        "3.000",
        *["80.0\u00a0%"] * 3,
    ]
    # Preference and gold loss stand there as means alone.
    assert [row["name"] for row in table["rows"]] == [
        "nq", "wikiqa", "answers, mean", "preference, mean", "gold loss, mean", "sentiment",
        "\u2026 over chance", "text, nats per token",
    ]  # fmt: skip
    records["healing"] = {"enabled": False}
    assert glance(records)["columns"] == ["dense", "pruned keeps", "repaired keeps"]
    del records["evaluation"]["repaired"]
    assert glance(records)["columns"] == ["dense", "pruned keeps"]


def test_repair_and_healing_have_a_sentence_each_and_none_where_they_are_off(
    records: dict[str, Any],
) -> None:
    starts = [verdict.text.partition(" the model keeps")[0] for verdict in headline(records)[:3]]
    assert starts == [
        "Without 1 of 4 layers (2; chosen by avss)",
        "After refitting 3 projections to 2,000 tokens",
        "After healing on 1,200 tokens",
    ]
    del records["evaluation"]["repaired"]
    records["repair"] = {"enabled": False}
    assert headline(records)[1].text.startswith("After healing on 1,200 tokens")
    records["healing"] = {"enabled": False}
    assert headline(records)[1].text.startswith("The loss on calibration text")


def test_a_share_of_a_handful_of_right_answers_is_not_told(records: dict[str, Any]) -> None:
    for table in (records["evaluation"]["retention"], records["evaluation"]["repaired"]["retention"]):
        table["generation"]["sets"]["nq"] |= {"n": 50, "accuracy_before": 0.06}
    pruned, repaired = headline(records)[:2]
    assert "of its accuracy on questions (wikiqa), 75.0\u00a0%" in pruned.text
    assert pruned.text.endswith("The dense model answers 3 of 50 on nq: too few for a share.")
    assert "too few" not in repaired.text, "said once"
    rows = {row["name"]: row["cells"] for row in glance(records)["rows"]}
    assert [cell["text"] for cell in rows["nq"]] == ["50.0\u00a0%", "\u2014", "\u2014", "62.5\u00a0%"]
    records["healing"]["retention"]["after"] = records["evaluation"]["retention"]
    rows = {row["name"]: row["cells"] for row in glance(records)["rows"]}
    said = {"text": "", "interval": "the dense model answers 3 of 50: too few for a share", "span": 3}
    assert rows["nq"][1:] == [said], "one cell for all models"
    for kept_set in records["evaluation"]["retention"]["generation"]["sets"].values():
        kept_set["accuracy_before"] = 0.0
    assert headline(records)[0].text.endswith(
        "Questions: no set has enough right answers of the dense model for a share."
    )


def test_too_few_questions_are_never_better_worse_or_sure(records: dict[str, Any]) -> None:
    retention = records["evaluation"]["retention"]
    retention["generation"]["sets"]["nq"]["n"] = 19
    pruned = headline(records)[0]
    said = "claims: sentiment and text below. Questions: too few questions to say (nq: 19)."
    assert pruned.text.endswith(said)
    assert "accuracy on questions" not in pruned.text
    retention["classification"]["sentiment"]["n"] = 12
    retention["language_modelling"]["nll_retention"] = entry(1.0)
    pruned = headline(records)[0]
    assert pruned.tone == "same"
    assert pruned.text.endswith("Sentiment: too few reviews to say (12).")
    cells = {row["name"]: row["cells"][1]["interval"] for row in glance(records)["rows"]}
    assert cells["nq"] == cells["answers, mean"] == "too few questions to say (nq: 19)"
    assert cells["sentiment"] == "too few reviews to say (12)"
    assert cells["wikiqa"] == "[45.0, 55.0]"
    retention["generation"]["sets"]["nq"]["n"] = 20
    assert "50.0\u00a0% [45.0, 55.0] of its accuracy on questions" in headline(records)[0].text


def test_layers_and_probe_of_too_few_questions_say_nothing(records: dict[str, Any]) -> None:
    records["localization"] |= {"questions": 5, "probe_questions": 1, "most_prone": [0, 1, 3, 2]}
    prone = headline(records)[4]
    assert prone.tone == "unsure"
    assert prone.text.startswith("5 questions: too few to say which layers are prone.")
    assert prone.text.endswith("The probe was measured on 1 question: too few to say.")
    records["localization"]["readings"]["eavss_contrast"]["low"] = [0.0] * 4
    assert "0 of 4 layers have an interval wholly above zero." in headline(records)[4].text


@pytest.mark.parametrize(
    ("divergence", "perplexity", "still"), [(4e-4, 1.0004, True), (6e-4, 1.0, False), (0.0, 1.0006, False)]
)
def test_a_training_that_moved_nothing_says_so(
    records: dict[str, Any], divergence: float, perplexity: float, still: bool
) -> None:
    mitigation = records["mitigation"]
    mitigation["divergence"] = entry(divergence)
    base = records["evaluation"]["dense"]["language_modelling"]["token_perplexity"]
    mitigation["mitigated"]["language_modelling"]["token_perplexity"] = perplexity * base
    mitigation["training"] |= {"steps": [{}], "train_pairs": 4}
    said = "1 step on 4 pairs did not measurably move the model: more rows or epochs are needed."
    assert headline(records)[5].text.endswith(said) == still


def test_a_training_is_not_judged_by_few_questions_or_by_confidence_in_wrong_answers(
    records: dict[str, Any],
) -> None:
    mitigation, dense = records["mitigation"], records["evaluation"]["dense"]
    mitigation["mitigated_against_base"]["nq"]["brier"] = entry(-0.2)
    assert headline(records)[5].tone == "better"
    wrong = {**mitigation["mitigated"]["sets"]["nq"], "accuracy": entry(0.0)}
    mitigation["mitigated"]["sets"] = {**mitigation["mitigated"]["sets"], "nq": wrong}
    trained = headline(records)[5]
    assert trained.tone == "same"
    assert "0 of 10 figures of answers are better" in trained.text
    small = {"nq": {**wrong, "n": 4}, "wikiqa": {**wrong, "n": 19}}
    mitigation["mitigated"]["sets"], dense["sets"] = small, small
    trained = headline(records)[5]
    assert trained.tone == "unsure"
    assert "Too few questions to say (nq: 4, wikiqa: 19)." in trained.text
    assert "better" not in trained.text
