"""Commands as tasks: what they say is logged, and why they failed is the error."""

import sys

import pytest

from flows.running.command import run_command


def _python(code):
    return [sys.executable, "-c", code]


def test_both_streams_are_logged_line_by_line(tmp_path, capfd):
    code = "import sys; print('one', flush=True); print(); print('two', file=sys.stderr)"
    run_command.fn(_python(code), folder=tmp_path)
    assert capfd.readouterr().out == "one\ntwo\n"


def test_the_output_can_go_to_a_file_alone(tmp_path, capfd):
    code = "import os, sys; print(os.environ['AVSS_ANSWER'] * 40000); print('said', file=sys.stderr)"
    output = tmp_path / "answer"
    run_command.fn(_python(code), folder=tmp_path, output=output, environment={"AVSS_ANSWER": "42"})
    assert output.read_text() == "42" * 40000 + "\n"
    assert capfd.readouterr().out == "said\n"


def test_it_runs_in_its_folder_without_what_marks_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "x")
    code = "import os; print(os.getcwd(), *(name for name in os.environ if name.startswith('PREFECT__')))"
    run_command.fn(_python(code), folder=tmp_path, output=tmp_path / "said")
    assert (tmp_path / "said").read_text().strip() == str(tmp_path)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('error: no text'); print('ERROR: stage failed'); print('bye'); raise SystemExit(3)",
         "exit code 3: error: no text; ERROR: stage failed$"),
        ("print('last words'); raise SystemExit(1)", "exit code 1: last words$"),
        ("raise SystemExit(2)", "exit code 2: it said nothing$"),
    ],
)  # fmt: skip
def test_a_failure_says_why(tmp_path, code, reason):
    with pytest.raises(RuntimeError, match=reason):
        run_command.fn(_python(code), folder=tmp_path)
