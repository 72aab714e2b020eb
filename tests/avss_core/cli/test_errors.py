import errno
import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture
def readable_errors(monkeypatch):
    from avss_core.cli.errors import readable_errors

    monkeypatch.delenv("AVSS_TRACEBACK", raising=False)
    return readable_errors


@pytest.mark.parametrize(
    "error",
    [ValueError("row 7 is bad"), LookupError("row 7 is bad"), FileNotFoundError("row 7 is bad"),
     ConnectionError("row 7 is bad"), ImportError("row 7 is bad")],
)  # fmt: skip
def test_an_expected_error_is_one_message_on_stderr(readable_errors, capsys, error):
    with pytest.raises(SystemExit) as stop, readable_errors():
        raise error
    assert stop.value.code == 1
    assert capsys.readouterr() == ("", "error: row 7 is bad\n")


def test_a_package_that_an_extra_brings_is_named_with_it(readable_errors, capsys):
    with pytest.raises(SystemExit), readable_errors():
        raise ModuleNotFoundError("No module named 'datasets'", name="datasets")
    said = "error: No module named 'datasets'; the extra brings it: pip install 'avss-core[hub]'\n"
    assert capsys.readouterr().err == said
    with pytest.raises(SystemExit), readable_errors():
        raise ModuleNotFoundError("No module named 'elsewhere'", name="elsewhere")
    assert capsys.readouterr().err == "error: No module named 'elsewhere'\n"


def test_every_extra_of_an_error_is_declared_with_its_package():
    import tomllib

    from avss_core.cli.errors import EXTRAS

    text = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    declared = tomllib.loads(text)["project"]["optional-dependencies"]
    assert all(package.replace("_", "-") in declared[extra] for package, extra in EXTRAS.items())


def test_an_error_without_a_text_says_its_kind(readable_errors, capsys):
    with pytest.raises(SystemExit), readable_errors():
        raise BlockingIOError
    assert capsys.readouterr().err == "error: BlockingIOError\n"


@pytest.mark.parametrize(
    "bug", [KeyError("layers"), IndexError("out of range"), RuntimeError("no"), TypeError()]
)
def test_a_bug_keeps_its_traceback(readable_errors, capsys, bug):
    with pytest.raises(type(bug)), readable_errors():
        raise bug
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("free", "said"), [(3e6, "; free some space: the disk of data has 3 MB left"), (3e9, "; free some space")]
)
def test_a_full_disk_without_a_name_is_looked_for(readable_errors, monkeypatch, tmp_path, capsys, free, said):
    from avss_core.cli import errors

    (tmp_path / "data").mkdir()
    monkeypatch.setattr(errors, "PROJECT", tmp_path)
    left = {tmp_path / "data": int(free)}
    monkeypatch.setattr(errors.shutil, "disk_usage", lambda path: SimpleNamespace(free=left.get(path, 9e9)))
    with pytest.raises(SystemExit), readable_errors():
        raise OSError(errno.ENOSPC, "No space left on device")
    assert capsys.readouterr().err == f"error: [Errno 28] No space left on device{said}\n"
    with pytest.raises(SystemExit), readable_errors():
        raise OSError(errno.ENOSPC, "No space left on device", "data/scores.json")
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device: 'data/scores.json'\n"


def test_a_switch_shows_all(readable_errors, monkeypatch):
    monkeypatch.setenv("AVSS_TRACEBACK", "1")
    with pytest.raises(ValueError, match="row 7"), readable_errors():
        raise ValueError("row 7 is bad")


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(130)], ids=["python", "typer"])
def test_an_interrupt_says_how_to_go_on(readable_errors, capsys, end):
    with pytest.raises(SystemExit) as stop, readable_errors():
        raise end
    assert stop.value.code == 130
    said = capsys.readouterr().err
    assert said == "interrupted; run the same command again to go on from the finished units\n"


def test_success_says_nothing(readable_errors, capsys):
    with readable_errors():
        pass
    assert capsys.readouterr() == ("", "")


def test_logs_of_an_expected_error_are_dropped_and_others_stay(readable_errors, monkeypatch, caplog):
    from avss_core.cli import errors

    # Prefect's own loggers want a flow run with each record.
    monkeypatch.setattr(errors, "_LOGGERS", ["a-test"])
    log = logging.getLogger("a-test")

    def say(error):
        try:
            raise error
        except type(error):
            log.exception("Task run failed with exception: %r", error)

    with caplog.at_level(logging.INFO, "a-test"), readable_errors():
        say(ValueError("expected"))
        say(KeyError("bug"))
        log.error("Finished in state Failed('Task run encountered an exception')")
        log.error("Crash detected! Execution was aborted by an interrupt signal.")
        log.error("Finished in state Crashed('Execution was aborted by an interrupt signal.')")
        log.error("Crash detected! The worker is gone.")
        log.error("Finished in state Completed()")
        log.info("epoch 1")
    assert [record.getMessage() for record in caplog.records] == [
        "Task run failed with exception: KeyError('bug')",
        "Crash detected! The worker is gone.",
        "Finished in state Completed()",
        "epoch 1",
    ]
    caplog.clear()
    say(ValueError("outside"))
    assert len(caplog.records) == 1


@pytest.mark.parametrize("traceback", ["", "1"])
def test_secrets_are_masked_in_what_is_logged(readable_errors, monkeypatch, caplog, traceback):
    from avss_core.cli import errors

    monkeypatch.setattr(errors, "_LOGGERS", ["a-test"])
    monkeypatch.setenv("AVSS_TRACEBACK", traceback)
    monkeypatch.setenv("HF_TOKEN", "canary-7f3a")
    log = logging.getLogger("a-test")
    with caplog.at_level(logging.INFO, "a-test"), readable_errors():
        log.info("with %s and %s", "canary-7f3a", "http://user:word@host")
        try:
            raise KeyError("canary-7f3a")
        except KeyError as error:
            log.exception("failed: %r", error)
    assert [record.getMessage() for record in caplog.records] == [
        "with *** and http://***@host",
        "failed: KeyError('***')",
    ]
    assert "canary-7f3a" not in caplog.text
    assert "KeyError: '***'" in caplog.text


def test_secrets_are_masked_in_the_message_of_an_error(readable_errors, monkeypatch, capsys):
    with pytest.raises(SystemExit), readable_errors():
        raise ConnectionError("cannot reach http://user:word@host/x")
    assert capsys.readouterr().err == "error: cannot reach http://***@host/x\n"


def test_secrets_are_masked_in_the_traceback_of_a_bug(readable_errors, monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(RuntimeError) as bug, readable_errors():
        raise RuntimeError("http://user:word@host")
    sys.excepthook(bug.type, bug.value, bug.tb)
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last)")
    assert shown.endswith("RuntimeError: http://***@host\n")


TASKS = "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL"


def test_quiet_leaves_warnings(readable_errors, monkeypatch):
    from avss_core.cli import errors

    for name in errors.QUIET:
        monkeypatch.setenv(f"PREFECT_LOGGING_LOGGERS_{name.replace('.', '_').upper()}_LEVEL", "")
        monkeypatch.delenv(f"PREFECT_LOGGING_LOGGERS_{name.replace('.', '_').upper()}_LEVEL")
    monkeypatch.delenv(errors.VERBOSE, raising=False)
    before = {name: logging.getLogger(name).level for name in errors.QUIET}
    try:
        errors.quiet(verbose=True)
        assert TASKS not in os.environ
        assert {name: logging.getLogger(name).level for name in errors.QUIET} == before
        errors.quiet()
        assert os.environ[TASKS] == "WARNING", "for the processes that this one starts"
        assert logging.getLogger("prefect.training").isEnabledFor(logging.INFO)
        for name in ("prefect", "prefect.flow_runs", "prefect.task_runs"):
            assert not logging.getLogger(name).isEnabledFor(logging.INFO)
            assert logging.getLogger(name).isEnabledFor(logging.WARNING)
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("row 7 is bad"), "row 7 is bad"),
        (BlockingIOError(), "BlockingIOError"),
        (KeyError("layers"), "KeyError: 'layers'"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ConnectionError("http://user:word@host"), "http://***@host"),
        (SystemExit(143), "exit code 143"),
    ],
)
def test_an_error_is_one_object_where_one_was_asked_for(readable_errors, capsys, error, said):
    from avss_core.cli.errors import error_object

    with pytest.raises((SystemExit, KeyError)), error_object(), readable_errors():
        raise error
    assert json.loads(capsys.readouterr().out) == {"error": said}


def test_what_is_done_or_has_printed_its_result_has_no_object_of_an_error(readable_errors, capsys):
    from avss_core.cli.errors import CheckFailedError, error_object

    with pytest.raises(SystemExit), error_object(), readable_errors():
        raise CheckFailedError("1 check")
    assert capsys.readouterr() == ("", "error: 1 check\n")
    with pytest.raises(SystemExit), error_object(), readable_errors():
        raise SystemExit(0)
    assert capsys.readouterr() == ("", "")
