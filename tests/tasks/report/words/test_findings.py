import pytest

from tasks.report.words.evidence import NOT_SURE, direction
from tasks.report.words.findings import control_verdicts, findings
from tasks.report.words.wording import change_text
from tests.tasks.report_records import FIGURES, SETS, Records, entry, named, run_records


@pytest.fixture
def records() -> Records:
    """The records of the run, to change."""
    return run_records()


@pytest.mark.parametrize(
    ("figure", "low", "value", "high", "expected"),
    [
        ("accuracy", 0.01, 0.02, 0.03, "better"),
        ("accuracy", -0.03, -0.02, -0.01, "worse"),
        ("ece", 0.01, 0.02, 0.03, "worse"),
        ("ece", -0.03, -0.02, -0.01, "better"),
        ("brier", -0.03, -0.02, 0.0, "same"),
        ("accuracy", 0.0, 0.02, 0.03, "same"),
        ("accuracy", -0.01, 0.3, 0.6, "same"),
        ("accuracy", 0.0, 0.0, 0.0, "same"),
    ],
)
def test_the_verdict_on_a_change_follows_its_interval(
    records: Records,
    figure: str,
    low: float,
    value: float,
    high: float,
    expected: str,
) -> None:
    change = {"value": value, "low": low, "high": high}
    assert direction(figure, change) == expected
    record = records["mitigation/figures.json"]
    record["mitigated_against_base"]["nq"][figure] = change
    trained = {
        verdict.tone: verdict for verdict in findings(named(records)) if "after training" in verdict.text
    }
    if expected == "same":
        assert [(v.tone, v.text[:16]) for v in trained.values()] == [("same", "10 of 10 figures")]
    else:
        assert trained.keys() == {expected, "same"}
        assert trained[expected].text == f"1 of 10 figures is {expected} after training."
        assert trained[expected].details[0].endswith(f"({change_text(figure, change)})")
        assert trained["same"].text.startswith("9 of 10 figures are not certainly different")


@pytest.mark.parametrize(
    ("nll", "half", "tone", "words"),
    [
        (3.75, 0.01, "worse", "rose from 3.000 to 3.750 nats per token"),
        (2.5, 0.01, "better", "fell from 3.000 to 2.500 nats per token"),
        (3.02, 0.01, "same", "; the interval of the ratio contains 1."),
        (3.02, 0.005, "worse", "rose from 3.000 to 3.020 nats per token"),
        (3.75, None, "same", "; the interval of the ratio contains 1."),
    ],
)
def test_the_removal_follows_the_loss(
    records: Records, nll: float, half: float | None, tone: str, words: str
) -> None:
    evaluation = records["evaluation/figures.json"]
    evaluation["pruned"]["language_modelling"]["nll"] = nll
    kept = {"value": 3 / nll, "low": None, "high": None} if half is None else entry(3 / nll, half)
    evaluation["retention"]["language_modelling"]["nll_retention"] = kept
    removal = findings(named(records))[0]
    assert removal.tone == tone
    assert "1 of 4 layers were removed (layer 2, chosen by avss)" in removal.text
    assert words in removal.text
    assert ("contains 1" in removal.text) == (tone == "same")
    assert removal.text.endswith("800 of 1,000 parameters are left.")


@pytest.mark.parametrize(
    ("kept", "nll", "tone"),
    [(0.825, 3.6, "same"), (0.95, 3.25, "better"), (0.65, 4.5, "worse"), (None, 3.25, "same")],
)
def test_healing_counts_only_where_what_is_kept_differs_beyond_the_intervals(
    records: Records, kept: float | None, nll: float, tone: str
) -> None:
    healing = records["healing/figures.json"]
    healing["healed"]["language_modelling"]["nll"] = nll
    healing["retention"]["after"]["language_modelling"]["nll_retention"] = entry(kept)
    (healed,) = (v for v in findings(named(records)) if "by healing on 1,200 tokens" in v.text)
    assert healed.tone == tone


@pytest.mark.parametrize(
    ("kept", "nll", "tone"),
    [(0.825, 3.6, "same"), (0.95, 3.25, "better"), (0.65, 4.5, "worse"), (None, 3.25, "same")],
)
def test_repair_counts_only_where_what_is_kept_differs_beyond_the_intervals(
    records: Records, kept: float | None, nll: float, tone: str
) -> None:
    repaired = records["evaluation/figures.json"]["repaired"]
    repaired["figures"]["language_modelling"]["nll"] = nll
    repaired["retention"]["language_modelling"]["nll_retention"] = entry(kept)
    repaired["against_pruned"]["nq"]["accuracy"] = entry(0.2)
    said = findings(named(records))
    (verdict,) = (v for v in said if "by refitting 3 projections to 2,000 tokens" in v.text)
    assert verdict.tone == tone
    assert verdict.text.startswith(
        "The loss on test text rose" if nll > 3.75 else "The loss on test text fell"
    )
    assert "mean of the sets, gold loss: 90.0\u00a0% [85.0, 95.0] before" in " ".join(verdict.details)
    assert not [line for line in verdict.details if line.startswith("nq, gold loss")], "means alone"
    assert "1 of 10 figures is better after repair." in [v.text for v in said]


@pytest.mark.parametrize(
    ("after", "tone"), [(0.25, "worse"), (0.75, "better"), (0.45, "same"), (None, "same")]
)
def test_sentiment_differs_only_where_intervals_are_apart(
    records: Records, after: float | None, tone: str
) -> None:
    evaluation = records["evaluation/figures.json"]
    evaluation["pruned"]["sentiment"]["accuracy"] = entry(after)
    pruned, trained = (v for v in findings(named(records)) if v.text.startswith("Sentiment"))
    assert pruned.tone == tone
    assert "for the dense and" in trained.text
    assert "for the trained model" in trained.text
    assert trained.tone == "same"


def test_the_controls_are_shown_with_the_verdict_that_follows_from_the_intervals(records: Records) -> None:
    against = {figure: {"value": 0.0, "low": -0.1, "high": 0.1} for figure in FIGURES}
    sure = {
        "accuracy": {"value": 0.2, "low": 0.1, "high": 0.3},
        "ece": {"value": 0.2, "low": 0.1, "high": 0.3},
    }
    first, second = SETS
    third = "third"
    mitigation = records["mitigation/figures.json"]
    for figures in (mitigation["mitigated"], *(each["figures"] for each in mitigation["controls"].values())):
        figures["sets"] = {**figures["sets"], third: figures["sets"][first]}
    sets = {first: {**against, "brier": {"value": -0.2, "low": -0.3, "high": -0.1}},
            second: against, third: {**against, **sure}}  # fmt: skip
    records["mitigation/figures.json"]["against_controls"] = {"random": sets}
    (verdict,) = control_verdicts(records["mitigation/figures.json"])
    assert verdict.text.startswith(
        "Layers chosen by EAVSS against layers drawn at random (mean of 2 draws): "
    )
    assert verdict.text.endswith(
        f"better on {first}; better in some figures and worse in others on {third}; "
        f"no certain difference on {second}."
    )
    assert verdict.tone == "mixed"
    assert verdict.details[0].startswith(
        f"{first}: Brier score \u22120.200 [\u22120.300, \u22120.100]; not certain:"
    )
    assert verdict.details[2].startswith(f"{third}: accuracy +20.0")
    mitigation["controls"] |= {name: mitigation["controls"]["random_1"] for name in ("lowest", "all")}
    records["mitigation/figures.json"]["against_controls"] = {"lowest": {first: sets[first], second: against}}
    (verdict,) = control_verdicts(records["mitigation/figures.json"])
    assert verdict.tone == "better"
    records["mitigation/figures.json"]["against_controls"] = {"all": {second: against}}
    (verdict,) = control_verdicts(records["mitigation/figures.json"])
    assert verdict.tone == "same"
    assert "at a lower rank: no certain difference on" in verdict.text
    few = {second: {**mitigation["mitigated"]["sets"][second], "n": 19}}
    (verdict,) = control_verdicts({**mitigation, "mitigated": {"sets": few}})
    assert verdict.tone == "unsure"
    assert verdict.text.endswith(f"at a lower rank: too few questions to say ({second}: 19).")


def test_findings_of_few_questions_and_of_no_right_answer_say_why(records: Records) -> None:
    evaluation = records["evaluation/figures.json"]
    for name in ("dense", "pruned"):
        sets = evaluation[name]["sets"]
        sets["nq"] = {**sets["nq"], "n": 4}
    evaluation["pruned"]["sets"]["wikiqa"] = {
        **evaluation["pruned"]["sets"]["wikiqa"],
        "accuracy": entry(0.0),
    }
    evaluation["pruned_against_dense"]["wikiqa"] |= {"ece": entry(-0.2)}
    evaluation["retention"]["classification"]["sentiment"]["n"] = 3
    evaluation["pruned"]["sentiment"]["n"] = 3
    after = [v for v in findings(named(records)) if "after pruning" in v.text.lower()]
    assert [v.tone for v in after] == ["worse", "same", "same", "unsure"]
    assert after[0].text == "1 of 5 figures is worse after pruning."
    assert after[1].text == f"1 of 5 figures is not judged after pruning: {NOT_SURE}."
    assert after[2].text.startswith("3 of 5 figures are not certainly different")
    assert after[3].text == "After pruning: too few questions to say (nq: 4)."
    (sentiment,) = (v for v in findings(named(records)) if v.text.startswith("Sentiment of the dense"))
    assert (sentiment.tone, sentiment.text) == (
        "unsure", "Sentiment of the dense and the pruned model: too few reviews to say (3).",
    )  # fmt: skip
