import json
import math

from tasks.answers.harness import harness_results


def _figures():
    figure = {"value": 0.25, "low": 0.1, "high": 0.4}
    names = ("exact_match", "accuracy", "accuracy_at_50", "coverage_at_50", "ece", "brier")
    return {
        "sets": {"nq": {name: figure for name in names} | {"n": 17}},
        "sentiment": {"n": 5, "accuracy": {"value": None, "low": None, "high": None}},
        "language_modelling": {"word_perplexity": 30.5, "byte_perplexity": 2.5},
    }


def _results():
    return harness_results(
        "org/a model", _figures(), dtype="float32", device="cpu", shots={"nq": 5, "sentiment": 4}, seed=3
    )


def test_figures_and_errors_have_the_harness_keys():
    found = _results()
    nq = found["results"]["avss_nq"]
    assert nq["alias"] == "avss_nq"
    assert (nq["exact_match,none"], nq["ece,none"]) == (0.25, 0.25)
    assert nq["exact_match_stderr,none"] == math.sqrt(0.25 * 0.75 / 16)
    assert nq["ece_stderr,none"] == "N/A"
    assert found["higher_is_better"]["avss_nq"] == {
        "exact_match": True, "acc": True, "acc_at_50": True, "coverage_at_50": True, "ece": False,
        "brier": False,
    }  # fmt: skip
    assert found["n-shot"] == {"avss_nq": 5, "avss_sentiment": 4, "avss_text": 0}
    assert found["n-samples"]["avss_nq"] == {"original": 17, "effective": 17}
    assert found["results"]["avss_text"]["word_perplexity,none"] == 30.5
    assert found["model_name_sanitized"] == "org_a_model"


def test_a_figure_without_a_value_is_left_out():
    assert _results()["results"]["avss_sentiment"] == {"alias": "avss_sentiment"}


def test_equal_figures_give_equal_files():
    assert json.dumps(_results(), allow_nan=False) == json.dumps(_results())


def test_no_task_has_a_name_or_a_source_of_the_harness():
    found = _results()
    for part in ("results", "configs", "versions", "n-shot", "n-samples", "group_subtasks"):
        assert set(found[part]) == {"avss_nq", "avss_sentiment", "avss_text"}, part
    assert {config["metadata"]["source"] for config in found["configs"].values()} == {"avss"}
    assert found["configs"]["avss_nq"]["output_type"] == "generate_until"
    assert found["model_source"] == found["config"]["model"] == "avss"
