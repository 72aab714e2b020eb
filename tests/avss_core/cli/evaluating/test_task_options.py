"""`avss evaluate --tasks`: standard tasks in the same table, object and folder as the figures of the sets."""

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.avss_core.cli.calls import ROOT, SETTINGS

TASKS = ROOT / "tests" / "avss_core" / "jobs" / "standard_tasks" / "own_tasks"
OWN = ["--tasks", "avss_test_choice,avss_test_text", "--include-path", TASKS]
NEEDS = pytest.mark.skipif(
    find_spec("lm_eval") is None,
    reason="the extra lm-eval is not installed",
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of the harness and what it imports


@NEEDS
def test_tasks_of_two_models_are_rows_files_and_one_object(avss, model, pruned):
    printed = avss("evaluate", model, pruned, *OWN, "--limit", 5, "--json", *SETTINGS)
    result = printed.json
    # tqdm, whose bars `avss` switches off before anything imports it, is imported here.
    assert not re.sub(r"[^\r\n]*it/s\]", "", printed.err).strip()
    dense, other = result["models"]
    assert set(dense) == {"model", "tasks"}, "no question set, text or review"
    assert dense["tasks"]["avss_test_choice"]["n"] == 5
    figure = other["tasks"]["avss_test_text"]["figures"]["word_perplexity"]
    change = other["against_base"]["tasks"]["avss_test_text"]["change"]["word_perplexity"]
    before = dense["tasks"]["avss_test_text"]["figures"]["word_perplexity"]["value"]
    assert change["value"] == pytest.approx(figure["value"] - before)
    assert change["low"] <= change["value"] <= change["high"]
    assert json.loads(Path("evaluation/evaluation.json").read_text(encoding="utf-8")) == result
    log = Path("evaluation", "pruned", "avss_test_choice", "samples_avss_test_choice.jsonl")
    assert len(log.read_text(encoding="utf-8").splitlines()) == 5
    again = avss("evaluate", model, pruned, *OWN, "--limit", 5, *SETTINGS)
    (row,) = (row for row in again.rows if row["model"] == str(pruned) and row["figure"] == "word_perplexity")
    assert (row["set"], row["n"], row["judge"]) == ("avss_test_text", "5", "lm-eval")
    assert float(row["value"]) == figure["value"]
    assert float(row["kept"]) == pytest.approx(before / figure["value"])


@NEEDS
def test_a_stopped_run_of_tasks_goes_on_at_the_first_that_is_not_done(avss, model, monkeypatch):
    from avss_core.jobs.standard_tasks import task_runs

    real, asked = task_runs.evaluate, []

    def stop_at_the_second(model, tasks, **settings):
        asked.extend(tasks["tasks"])
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(model, tasks, **settings)

    monkeypatch.setattr(task_runs, "evaluate", stop_at_the_second)
    command = ["evaluate", model, *OWN, "--out", "answers", "--limit", 2, *SETTINGS]
    assert avss(*command).code == 130
    assert avss(*command).code == 0
    assert asked == ["avss_test_choice", "avss_test_text", "avss_test_text"]


@NEEDS
def test_question_sets_stand_beside_tasks_where_both_are_asked_for(avss, model, data):
    asked = ["--tasks", "avss_test_choice", "--include-path", TASKS, "--sets", "nq", "--data", data]
    rows = avss("evaluate", model, *asked, "--limit", 2, *SETTINGS).rows
    assert {row["set"] for row in rows} == {"nq", "text", "sentiment", "avss_test_choice"}


def test_without_the_harness_the_extra_is_named(refused, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert refused("evaluate", model, "--tasks", "hellaswag") == (
        "standard tasks need lm-evaluation-harness, which is not installed; the extra brings it: "
        "pip install 'avss-core[lm-eval]'"
    )


def test_a_folder_of_tasks_that_is_not_there_is_named(refused, model):
    said = refused("evaluate", model, "--tasks", "mine", "--include-path", "nowhere")
    assert (
        said == "nowhere is no folder: name that of your task files by --include-path or evaluate.task_files"
    )


@pytest.mark.parametrize(
    ("more", "what"),
    [(["--tasks", "mine"], "avss evaluate --tasks"), (["MODEL"], "comparing several models")],
)
def test_an_encoder_is_evaluated_alone(refused, tiny, encoder_tokenizer, model, tmp_path, more, what):
    tiny("bert").save_pretrained(tmp_path / "bert")
    encoder_tokenizer.save_pretrained(tmp_path / "bert")
    more = [model if word == "MODEL" else word for word in more]
    said = refused("evaluate", tmp_path / "bert", *more)
    assert said.startswith(f"{what} needs a model that writes answers, and bert is an encoder")
