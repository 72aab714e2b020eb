"""`avss score` as a person meets it: what it prints, where, and what it leaves behind."""

import re

import pytest

from tests.avss_core.cli.calls import SETTINGS, write_set, write_text


def test_json_has_a_row_for_each_layer_in_depth_order(avss, model, data):
    printed = avss("score", model, "--score", "avss", "--data", data, "--json", *SETTINGS)
    result = printed.json
    assert printed.err == ""
    assert result["model"] == str(model)
    assert (result["score"], result["prune_first"], result["ratio"]) == ("avss", "lowest", 0.25)
    assert (result["text"], result["tokens"]) == ("path", 512)
    assert [row["layer"] for row in result["layers"]] == list(range(6))
    assert sum(row["normalised"] for row in result["layers"]) == pytest.approx(1)
    lowest = min(result["layers"], key=lambda row: row["score"])
    assert result["removed"] == [lowest["layer"]]
    assert [row["layer"] for row in result["layers"] if row["removed"]] == result["removed"]
    assert lowest["cumulative"] == lowest["normalised"]
    assert max(row["cumulative"] for row in result["layers"]) == pytest.approx(1)
    assert sum(row["frequency"] for row in result["layers"]) == pytest.approx(1)
    assert 0 <= result["same_choice"] <= 1
    assert [row["layer"] for row in result["layers"] if 0.05 < row["frequency"] < 0.95] == result["undecided"]


@pytest.mark.parametrize(("name", "home", "step"), [
    ("avss", "text_statistics", "collect_statistics"), ("traversal", "removal.losses", "loss_without"),
])  # fmt: skip
def test_a_command_that_was_stopped_goes_on_at_the_first_unit_that_is_missing(
    avss, model, text, monkeypatch, tmp_path, name, home, step
):
    """Its results lie where the folder of kept results is, and the numbers are those of a whole run."""
    from importlib import import_module

    module, ran = import_module(f"avss_core.jobs.{home}"), []
    work, asked = (
        getattr(module, step),
        ["score", model, "--score", name, "--data", text, "--json", *SETTINGS],
    )

    def dying(*arguments, **options):
        if len(ran) == 3:
            raise OSError("the machine is gone")
        ran.append(step)
        return work(*arguments, **options)

    monkeypatch.setattr("avss_core.cli.session.kept_results", lambda: tmp_path / "whole")
    whole = avss(*asked).json
    monkeypatch.setattr("avss_core.cli.session.kept_results", lambda: tmp_path / "kept")
    with monkeypatch.context() as patch:
        patch.setattr(module, step, dying)
        assert avss(*asked).code == 1
    assert len(list((tmp_path / "kept").iterdir())) == 3
    ran.clear()
    monkeypatch.setattr(module, step, lambda *a, **o: ran.append(step) or work(*a, **o))
    assert avss(*asked).json == whole
    assert len(ran) == len(list((tmp_path / "whole").iterdir())) - 3
    ran.clear()
    assert avss(*asked).json == whole
    assert ran == []


def test_a_cut_inside_the_noise_is_a_warning(avss, model, text, monkeypatch):
    from avss_core.scores import stability

    settings = ["--data", text, "--json", *SETTINGS]
    monkeypatch.setattr(stability, "NOISE", -1.0)  # every layer is undecided
    printed = avss("score", model, *settings)
    assert printed.json["undecided"] == [0, 1, 2, 3, 4, 5]
    assert "warning: the cut lies inside the noise" in printed.err
    assert "layers 0, 1, 2, 3, 4, 5;" in printed.err
    assert avss("score", model, "--score", "last_n", *settings).err == ""


@pytest.mark.parametrize("name", ["avss", "traversal", "greedy"])
def test_a_choice_on_two_words_is_never_sure(avss, model, tmp_path, name):
    write_text(tmp_path)
    (tmp_path / "wikitext2" / "valid.txt").write_text("Two words.", encoding="utf-8")
    settings = [
        "--score",
        name,
        "--data",
        tmp_path,
        "--json",
        *SETTINGS,
        "--set",
        "score.traversal_context=0",
    ]
    printed = avss("score", model, *settings)
    result = printed.json
    assert (result["same_choice"], result["undecided"]) == (None, None)
    assert {row["frequency"] for row in result["layers"]} == {None}
    assert result["warning"].startswith(
        "too little text to say how sure the choice is: 1 window or part, and"
    )
    assert f"warning: {result['warning']}" in printed.err
    small = ["--set", "collect.window=2", "--set", "score.traversal_window=2"]
    enough = avss("score", model, *settings, *small).json
    assert enough["warning"] is None
    assert (enough["same_choice"] is None) == (name == "greedy")


def test_the_help_lists_every_score(avss):
    from avss_core.scores.scores import SCORES

    said = avss("score", "--help").out
    assert all(name in said for name in SCORES)


def test_a_score_of_each_kind_has_its_own_numbers(avss, model, text):
    from avss_core.scores.scores import SCORES

    for score in {each.needs: name for name, each in SCORES.items()}.values():
        result = avss("score", model, "--score", score, "--data", text, "--json", *SETTINGS).json
        assert (result["score"], result["reference"]) == (score, SCORES[score].reference)
        # Of six layers greedy removal took one; it leaves the others without an order.
        assert len({row["score"] for row in result["layers"]}) == (2 if score.startswith("greedy") else 6)
        assert result["tokens"] == {"statistics": 512, "nothing": 0}.get(SCORES[score].needs, 128)


def test_the_text_decides_and_the_questions_do_not(avss, model, data, text):
    whole = avss("score", model, "--data", data, "--json", *SETTINGS).json
    alone = avss("score", model, "--data", text, "--json", *SETTINGS).json
    assert whole["layers"] == alone["layers"]


def test_without_text_of_its_own_the_text_is_the_samples(avss, model, tmp_path, text):
    write_set(tmp_path / "sets", "quiz")
    sets = avss("score", model, "--data", tmp_path / "sets", "--json", *SETTINGS).json
    sample = avss("score", model, "--json", *SETTINGS).json
    own = avss("score", model, "--data", text, "--json", *SETTINGS).json
    assert sets["text"] == sample["text"] == "sample"
    assert sets["layers"] == sample["layers"] != own["layers"]


def test_lines_for_a_pipe_have_the_numbers_in_full(avss, model, text):
    plain = avss("score", model, "--data", text, "--ratio", 0.5, *SETTINGS)
    result = avss("score", model, "--data", text, "--ratio", 0.5, "--json", *SETTINGS).json
    assert len(result["removed"]) == 3
    assert [(int(row["layer"]), float(row["score"]), row["removed"] == "yes") for row in plain.rows] == [
        (row["layer"], row["score"], row["removed"]) for row in result["layers"]
    ]


def test_a_terminal_gets_a_table(avss, model, text, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")  # without bold
    printed = avss("score", model, "--data", text, *SETTINGS)
    assert printed.code == 0
    assert "\t" not in printed.out
    assert f"avss of {model}"[:40] in printed.out
    assert "share of" in printed.out
    assert len(re.findall("^ *[0-5] .*[.][0-9]", printed.out, re.MULTILINE)) == 6
    assert printed.out.count("removed") == 1


def test_a_relative_folder_is_one_of_the_working_folder(avss, model, text, monkeypatch):
    monkeypatch.chdir(text.parent)
    result = avss("score", model.name, "--data", text.name, "--json", *SETTINGS).json
    assert (result["model"], result["text"]) == (str(model), "path")


def test_a_model_of_one_layer_is_refused(refused, tiny, tokenizer, tmp_path, text):
    tiny("llama", layers=1).save_pretrained(tmp_path / "one")
    tokenizer.save_pretrained(tmp_path / "one")
    for arguments in (["score"], ["prune", "--out", "new"]):
        message = refused(*arguments, tmp_path / "one", "--data", text, *SETTINGS)
        assert "the model has 1 layer" in message


def test_a_model_without_a_tokenizer_cannot_be_scored(refused, bare, text):
    for arguments in (["score"], ["prune", "--out", "new"]):
        message = refused(*arguments, bare, "--data", text)
        assert f"{bare} has no tokenizer" in message
        assert "--layers" in message


def test_a_folder_that_is_no_checkpoint_is_called_so(refused, tmp_path, text):
    (tmp_path / "notes").mkdir()
    message = refused("score", tmp_path / "notes", "--score", "avss", "--data", text)
    assert f"cannot load {tmp_path / 'notes'}" in message
    assert "Give a checkpoint folder" in message
