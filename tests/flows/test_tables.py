import json

import pytest

from flows.tables import change_rows, plain_cell, short_cell, show

ROWS = [{"name": "a", "value": 0.1234567, "passed": True}, {"name": "b [c]", "value": None, "low": 1}]


@pytest.mark.parametrize(
    ("value", "plain", "short"),
    [
        (None, "", ""),
        (True, "yes", "yes"),
        (False, "no", "no"),
        (0, "0", "0"),
        (12345678, "12345678", "12345678"),
        (0.0, "0.0", "0"),
        (0.1234567, "0.1234567", "0.1235"),
        (1e-12, "1e-12", "1e-12"),
        ("two\tcells\nand  lines", "two cells and lines", "two cells and lines"),
        ([1, 4], "[1, 4]", "[1, 4]"),
    ],
)
def test_cells(value, plain, short):
    assert (plain_cell(value), short_cell(value)) == (plain, short)


def test_json_is_one_line_whatever_the_rows_are(capsys):
    found = {"text": "日本\n", "rows": []}
    show(found, ROWS, title="title", as_json=True)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "日本" in out
    assert json.loads(out) == found


def test_json_refuses_what_json_does_not_have(capsys):
    with pytest.raises(ValueError, match="not JSON compliant"):
        show({"value": float("nan")}, [], title="title", as_json=True)
    assert capsys.readouterr().out == ""


def test_a_pipe_gets_one_line_a_row_with_every_column(capsys):
    show({}, ROWS, title="title", as_json=False)
    assert capsys.readouterr().out == "name\tvalue\tpassed\tlow\na\t0.1234567\tyes\t\nb [c]\t\t\t1\n"


def test_a_terminal_gets_a_table_and_brackets_are_no_markup(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    show({}, ROWS, title="scores of [bold]x", as_json=False)
    out = capsys.readouterr().out
    assert "scores of [bold]x" in out
    assert "b [c]" in out
    assert "0.1235" in out


def test_a_change_stands_beside_what_changed():
    figures = {"accuracy": {"value": 0.5}}
    found = {
        "before": {"sets": {"nq": figures}},
        "after": {"sets": {"nq": {"accuracy": {"value": 0.75}}}},
        "difference": {
            "nq": {"n": 4, "accuracy": {"value": 0.25, "low": 0.0, "high": 0.5}, "retention": 1.5}
        },
    }
    row = {"set": "nq", "figure": "accuracy", "before": 0.5, "after": 0.75, "change": 0.25, "low": 0.0}
    assert change_rows(found) == [{**row, "high": 0.5}]


def test_a_training_has_a_row_for_each_validation_with_the_tokens_so_far():
    from flows.tables import training_rows

    history = [{"step": 1, "train_loss": 2.0, "validation_loss": 2.5},
               {"step": 3, "train_loss": 1.0, "validation_loss": 1.5}]  # fmt: skip
    training = {"steps": [{"tokens": 10}, {"tokens": 20}, {"tokens": 5}], "history": history}
    assert training_rows(training) == [
        {"step": 1, "tokens": 10, "train_loss": 2.0, "validation_loss": 2.5},
        {"step": 3, "tokens": 35, "train_loss": 1.0, "validation_loss": 1.5},
    ]
