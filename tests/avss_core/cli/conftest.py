"""Run a command in this process, on a small model and small data."""

import json
import logging
import math
import sys
from pathlib import Path

import pytest
from transformers.utils.logging import disable_progress_bar

from tests.avss_core.cli.calls import SHAPES, Result, write_rows, write_set, write_text


@pytest.fixture
def avss(monkeypatch, capsys, tmp_path):
    """Run a command in this process, in an empty folder of its own."""
    from avss_core.cli.app import main
    from avss_core.cli.errors import QUIET
    from avss_core.display import lines as progress_lines
    from avss_core.surgery import certificate

    # A fresh process costs seconds each time; test_certificate.py and a test below have real ones.
    monkeypatch.setattr(certificate, "inspect_afresh", certificate.inspect_with_logits)
    # `flows` sees to this, but only where it is imported before transformers.
    disable_progress_bar()
    working = tmp_path / "working"
    working.mkdir()
    monkeypatch.chdir(working)
    levels = {name: logging.getLogger(name).level for name in QUIET}
    # What is said of a long step depends on how busy the machine is.
    monkeypatch.setattr(progress_lines, "QUIET", math.inf)
    # Of this process alone.
    for name in QUIET:
        monkeypatch.delenv(f"PREFECT_LOGGING_LOGGERS_{name.replace('.', '_').upper()}_LEVEL", raising=False)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["avss", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        printed = Result(stop.value.code or 0, *capsys.readouterr())
        if "\t" in printed.out and "--json" not in arguments:
            assert printed.out.splitlines()[0].split("\t") in SHAPES[arguments[0]]
        return printed

    yield call
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def refused(avss):
    """Run a command that must fail with one message and leave nothing behind; return the message."""

    def call(*arguments):
        before = sorted(Path.cwd().parent.rglob("*"))
        printed = avss(*arguments)
        assert printed.code == 1
        assert printed.err.startswith("error: ")
        said = json.dumps({"error": printed.err[len("error: ") : -1]}, ensure_ascii=False)
        assert printed.out == (f"{said}\n" if "--json" in arguments else "")
        assert "Traceback" not in printed.err
        assert len(printed.err.splitlines()) < 24
        assert sorted(Path.cwd().parent.rglob("*")) == before
        return printed.err.removeprefix("error: ").rstrip("\n")

    return call


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name in ("nq", "sciq"):
        write_set(folder, name)
    write_text(folder)
    for part in ("train", "validation"):
        rows = [{"id": f"{part}-{i}", "text": f"film {i} is {i % 2}", "label": i % 2} for i in range(4)]
        write_rows(folder / "sst2" / f"{part}.jsonl", rows)
    return folder


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    write_text(folder)
    return folder


@pytest.fixture(scope="session")
def model(tiny_llama, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_llama.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bare(tiny_llama, tmp_path_factory):
    """A checkpoint without a tokenizer."""
    folder = tmp_path_factory.mktemp("bare")
    tiny_llama.save_pretrained(folder)
    return folder


@pytest.fixture
def pruned(avss, model):
    folder = Path("pruned").resolve()
    assert avss("prune", model, "--layers", "1,4", "--out", folder).code == 0
    return folder
