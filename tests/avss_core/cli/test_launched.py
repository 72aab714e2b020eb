"""A command in the processes of `accelerate launch`: one speaks, and only what shares the work runs."""

import sys

import pytest

from avss_core.cli.launched import follows, one_voice, refuse_launched


@pytest.fixture
def place(monkeypatch):
    def at(rank):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
        monkeypatch.setenv("RANK", str(rank))

    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    return at


@pytest.mark.parametrize(("rank", "heard"), [(None, True), (0, True), (1, False)])
def test_the_first_process_speaks_for_all(place, capsys, rank, heard):
    if rank is not None:
        place(rank)
    assert follows() is not heard
    with one_voice():
        print("result")
        print("progress", file=sys.stderr)
    assert capsys.readouterr() == (("result\n", "progress\n") if heard else ("", ""))


def test_an_error_of_any_process_is_shown(place, capsys):
    place(1)
    with pytest.raises(ValueError, match="wrong"), one_voice():
        raise ValueError("wrong")
    print("said", file=sys.stderr)
    assert capsys.readouterr().err == "said\n"


def test_a_command_that_would_run_twice_is_refused(avss, place):
    refuse_launched("score")
    place(0)
    refuse_launched("heal")
    refuse_launched("mitigate")
    printed = avss("verify", "folder")
    assert printed.code == 1
    assert printed.err == (
        "error: several processes share the work of avss heal and avss mitigate alone: start avss verify "
        "without accelerate launch\n"
    )
