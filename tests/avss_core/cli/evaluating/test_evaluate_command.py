"""`avss evaluate` as a person meets it: what it prints, where, and what it leaves behind."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from avss_core.data.texts import read_parts
from avss_core.models.batches import token_stream
from tests.avss_core.cli.calls import SETTINGS


def test_evaluate_has_every_set_that_is_asked_for(avss, model, data):
    printed = avss("evaluate", model, "--sets", "sciq, nq", "--data", data, "--limit", 4, "--json", *SETTINGS)
    result = printed.json
    assert printed.err == ""
    assert result["model"] == str(model)
    assert list(result["sets"]) == ["sciq", "nq"]
    for figures in result["sets"].values():
        assert figures["n"] == 4
        assert 0 <= figures["accuracy"]["low"] <= figures["accuracy"]["value"] <= 1
    assert result["language_modelling"]["tokens"] == 128
    assert result["sentiment"]["n"] == 4


def test_evaluate_answers_only_where_the_model_is_sure_enough(avss, model, data, refused):
    command = ["evaluate", model, "--sets", "nq", "--data", data, "--limit", 4]
    result = avss(*command, "--abstain-at", 1, "--json", *SETTINGS).json
    all_of_them = result["abstention"]["nq"]
    assert (all_of_them["risk"], all_of_them["n"]) == (1.0, 4)
    assert all_of_them["validation"] > 0
    assert 0 <= all_of_them["threshold"] <= 1
    assert 0 <= all_of_them["answered"]["value"] <= 1
    rows = avss(*command, "--abstain-at", 0, *SETTINGS).rows
    figures = {row["figure"]: row for row in rows if row["set"] == "nq"}
    assert {"answered_at_0", "error_at_0"} <= figures.keys()
    assert float(figures["answered_at_0"]["value"]) <= float(all_of_them["answered"]["value"])
    printed = refused(*command[:2], "--tasks", "x", "--abstain-at", 0.5, *SETTINGS)
    assert "--abstain-at is about the question sets: name them with --sets beside --tasks" in printed
    assert "less than or equal to 1" in avss(*command, "--abstain-at", 1.5).err


def test_evaluate_gives_every_predicted_token_the_context_that_a_stride_leaves(
    avss, model, data, tiny_llama, tokenizer, tmp_path
):
    own = tmp_path / "own"
    shutil.copytree(data, own)
    (own / "notes.txt").write_text(
        "".join(f"Note {i} says {i * i}.\n\n" for i in range(60)), encoding="utf-8"
    )
    extra = ["--set", "data.text=notes.txt", "--set", "evaluate.stride=16"]
    printed = avss(
        "evaluate", model, "--sets", "nq", "--data", own, "--limit", 2, "--json", *SETTINGS, *extra
    )
    text = printed.json["language_modelling"]
    assert (text["tokens"], text["window"], text["stride"]) == (128, 64, 16)
    pieces = read_parts(own, "notes.txt")["test"]
    ids = token_stream(tokenizer, pieces, 128 + 48 + 1)
    total = 0.0
    for start in range(48, 176, 16):
        piece = torch.tensor([ids[start - 48 : start + 17]])
        with torch.no_grad():
            logits = tiny_llama(piece[:, :-1]).logits[0, 48:]
        total += float(cross_entropy(logits, piece[0, 49:], reduction="sum"))
    assert text["nll"] == pytest.approx(total / 128, rel=1e-5)
    words = len(tokenizer.decode(ids[49:]).split())
    assert text["word_perplexity"] == pytest.approx(math.exp(min(total / words, 700)), rel=1e-4)


def test_evaluate_says_how_many_rows_it_leaves_out(avss, model, data, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(data, own)
    tested = own / "nq" / "test.jsonl"
    first = tested.read_text(encoding="utf-8").splitlines()[0]
    with tested.open("a", encoding="utf-8") as file:
        file.write(first.replace("nq-test-0", "again") + "\n")
    with (own / "nq" / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write(first + "\n")
    printed = avss("evaluate", model, "--sets", "nq", "--data", own, "--json", *SETTINGS)
    assert printed.json["sets"]["nq"]["n"] == 6
    assert (
        "warning: nq: 2 rows were left out: 1 asked again a question of another row, 1 of train asked a "
        "question that is tested"
    ) in printed.err


def test_evaluate_takes_all_sets_of_the_folder_and_prints_lines(avss, model, data):
    rows = avss("evaluate", model, "--data", data, *SETTINGS).rows
    assert {row["set"] for row in rows} == {"nq", "sciq", "text", "sentiment"}
    assert {row["n"] for row in rows if row["set"] == "nq"} == {"6"}
    figures = {row["figure"] for row in rows if row["set"] == "text"}
    assert figures == {"nll", "token_perplexity", "word_perplexity", "byte_perplexity"}


def test_several_models_stand_beside_the_first_with_what_changed_and_what_is_kept(avss, model, pruned, data):
    asked = ["--sets", "nq", "--data", data, "--limit", 4, *SETTINGS]
    printed = avss("evaluate", model, pruned, *asked, "--json")
    result = printed.json
    assert printed.err == ""
    assert result["base"] == str(model)
    dense, other = result["models"]
    assert [each["model"] for each in (dense, other)] == [str(model), str(pruned)]
    assert "against_base" not in dense
    alone = avss("evaluate", pruned, *asked, "--json").json
    beside = other.pop("against_base")
    assert other == alone
    change = beside["changes"]["nq"]["accuracy"]
    values = [each["sets"]["nq"]["accuracy"]["value"] for each in (dense, other)]
    assert change["value"] == pytest.approx(values[1] - values[0])
    losses = [each["language_modelling"]["nll"] for each in (dense, other)]
    kept = beside["retention"]["language_modelling"]["nll_retention"]
    assert kept["value"] == pytest.approx(losses[0] / losses[1], rel=1e-6)
    rows = avss("evaluate", model, pruned, *asked).rows
    assert {row["model"] for row in rows} == {str(model), str(pruned)}
    (loss,) = (row for row in rows if row["model"] == str(pruned) and row["figure"] == "nll")
    assert float(loss["change"]) == pytest.approx(losses[1] - losses[0])
    assert float(loss["kept_low"]) <= float(loss["kept"]) <= float(loss["kept_high"])
    assert {row["change"] for row in rows if row["model"] == str(model)} == {""}
    assert list(Path.cwd().iterdir()) == [pruned]


def test_a_stopped_evaluation_goes_on_and_a_finished_one_asks_nothing(avss, model, data, monkeypatch):
    from avss_core.jobs.evaluation import questions, reviews

    asked = ["--sets", "nq", "--data", data, "--limit", 3, "--json", *SETTINGS]

    def stop(*_arguments, **_settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(reviews, "sentiment_probabilities", stop)
        stopped = avss("evaluate", model, *asked)
    assert stopped.code == 130
    assert "run the same command again to go on from the finished units" in stopped.err
    monkeypatch.setattr(questions, "answer_questions", stop)  # was finished before
    first = avss("evaluate", model, *asked).json
    monkeypatch.setattr(reviews, "sentiment_probabilities", stop)
    assert avss("evaluate", model, *asked).json == first


def test_a_model_that_is_given_twice_is_refused(refused, model):
    assert refused("evaluate", model, model) == f"{model} is given twice; name each model once"


def test_figures_stay_in_a_folder_that_is_named(avss, model, data):
    asked = ["--sets", "nq", "--data", data, "--limit", 3, *SETTINGS]
    printed = avss("evaluate", model, "--out", "figures", *asked, "--json")
    assert json.loads(Path("figures/evaluation.json").read_text(encoding="utf-8")) == printed.json
