import json
import re

import pytest

from avss_core.cli.printing import drawn_columns, plain_cell, short_cell, show
from avss_core.cli.speed_command import speed_rows

ROWS = [{"name": "a", "value": 0.1234567, "passed": True}, {"name": "b [c]", "value": None, "low": 1}]


@pytest.mark.parametrize(
    ("value", "plain", "short"),
    [
        (None, "", ""),
        (True, "yes", "yes"),
        (False, "no", "no"),
        (0, "0", "0"),
        (12345678, "12345678", "12,345,678"),
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
    record = {"text": "日本\n", "rows": []}
    show(record, ROWS, title="title", as_json=True)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "日本" in out
    assert json.loads(out) == record


def test_json_has_every_digit_and_null_for_what_it_does_not_have(capsys):
    record = {"a": float("nan"), "b": [float("-inf"), 0.1 + 0.2], "c": {"d": (float("inf"), True, None)}}
    show(record, [], title="title", as_json=True)
    assert capsys.readouterr().out == (
        '{"a": null, "b": [null, 0.30000000000000004], "c": {"d": [null, true, null]}}\n'
    )


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


SCORES = [
    {
        "layer": layer,
        "score": score,
        "normalised": score / 10,
        "cumulative": score / 5,
        "removed": layer == 1,
        "frequency": 0.5,
        "shot_noise": layer == 10,
    }
    for layer, score in ((1, 0.25), (10, 6.125))
]


def test_a_table_of_scores_fits_and_marks_what_goes_in_words(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    show({}, SCORES, title="scores", as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    first, last = ([cell for cell in line.split("  ") if cell.strip()] for line in lines[-2:])
    assert [cell.strip() for cell in first] == ["1", "0.250", "0.0250", "0.050", "removed", "0.5000"]
    assert [cell.strip() for cell in last] == ["10", "6.125", "0.6125", "1.225", "0.5000", "noisy"]
    # The ends of numbers stand under one another.
    assert lines[-2].index("0.250") + len("0.250") == lines[-1].index("6.125") + len("6.125")


def test_speeds_of_two_models_fit_in_80_columns(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    times = {
        "prefill": 12345.6,
        "decode": {"1": 123.4, "8": 456.7},
        "peak_bytes": 1_250_000_000,
        "cache_bytes": 46080,
    }
    ratio = {"value": 1.25, "low": 1.2, "high": 1.31}
    ratios = {"prefill": ratio, "decode": {"1": ratio, "8": ratio}}
    record = {"models": {"/a/dense": times, "/a/pruned": times}, "ratios": {"/a/pruned": ratios}}
    show({}, speed_rows(record), title="speed", as_json=False)
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    for shown in ("pruned", "12,346", "123.4", "456.7", "(x1.25)", "[1.20, 1.31]", "1,250", "46.08", "kB a"):
        assert shown in out


def test_colours_are_for_a_terminal_that_wants_them(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # what rich reads instead of asking a captured stream
    monkeypatch.setenv("TERM", "xterm")
    show({}, SCORES, title="scores", as_json=False)
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    show({}, SCORES, title="scores", as_json=False)
    record = capsys.readouterr().out
    assert not re.search("\x1b\\[[0-9;]*3[0-9]m", record)
    assert record.count("removed") == 1


def test_an_interval_is_one_column_with_the_decimals_of_its_ends():
    rows = [{"value": 0.5, "low": 0.25, "high": 0.75}, {"value": None, "low": None, "high": None}]
    assert drawn_columns(rows) == {"value": ["0.5000", ""], "95 % interval": ["[0.2500, 0.7500]", ""]}


@pytest.mark.parametrize(
    ("column", "values", "cells"),
    [
        ("value", [12.5, 0.25], ["12.50", "0.25"]),
        ("value", [1e6, 1.5], ["1e+06", "1.5"]),  # no number of decimals shows both
        ("value", [5000.0, None], ["5,000", ""]),
        ("value", [0.0, 1e-9], ["0", "1e-09"]),
        ("peak_bytes", [2_500_000], ["2.5"]),
        ("passed", [True, False], ["yes", "FAILED"]),
        ("removed", [True, False], ["removed", ""]),
        ("model", ["/a/b/dense", "a/b"], ["dense", "a/b"]),
    ],
)
def test_the_cells_of_a_column(column, values, cells):
    assert drawn_columns([{column: value} for value in values]) == {column: cells}


def test_a_table_without_rows_says_so(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show({}, [], title="Broken results", as_json=False)
    assert capsys.readouterr().out == "Broken results: none\n"


def test_the_interval_of_another_figure_stands_under_it():
    columns = ("value", "change", "change_low", "change_high")
    rows = [
        dict(zip(columns, values, strict=True))
        for values in ((0.5, None, None, None), (0.4, -0.1, -0.25, 0.125))
    ]
    drawn = {"value": ["0.5000", "0.4000"], "change": ["", "-0.1000\n[-0.2500, 0.1250]"]}
    assert drawn_columns(rows) == drawn
