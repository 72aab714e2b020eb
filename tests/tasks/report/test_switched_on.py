"""What a run has only where its settings ask for it: standard tasks and abstention."""

import pytest

from avss_core.files.writing import write_json
from tasks.report.markdown import markdown_tables
from tasks.report.result_tables import result_tables
from tasks.report.standard_tasks import task_rows
from tests.tasks.report_records import entry, named, run_records, write_run


def _on_task(accuracy, kept=None):
    figure = entry(accuracy) | {"higher_is_better": True, "chance": 0.25}
    against = {
        "change": {"acc": entry(-0.1)},
        "kept": {"acc": {"retention": kept, "retention_over_chance": None}},
    }
    return {
        "figures": {"arc<easy": {"n": 40, "shots": 0, "version": "1.0", "figures": {"acc": figure}}},
        "against_dense": {"arc<easy": against} if kept else None,
    }


@pytest.fixture
def records():
    """The records of a run whose models were asked a task."""
    records = run_records()
    records["evaluation/figures.json"]["tasks"] = {
        "dense": _on_task(0.6),
        "pruned": _on_task(0.3, entry(0.5)),
        "repaired": _on_task(0.45, entry(0.75)),
    }
    records["healing/figures.json"]["tasks"] = _on_task(0.54, entry(0.9))
    return records


def test_a_row_has_every_model_and_what_it_keeps(records):
    (row,) = task_rows(named(records))
    assert (row.task, row.figure, row.n) == ("arc<easy", "acc", 40)
    assert [each["value"] for each in row.values.values()] == [0.6, 0.3, 0.45, 0.54]
    assert {name: each["value"] for name, each in row.kept.items()} == {
        "pruned": 0.5,
        "repaired": 0.75,
        "healed": 0.9,
    }


def test_a_run_without_tasks_has_no_row(records):
    del records["evaluation/figures.json"]["tasks"], records["healing/figures.json"]["tasks"]
    assert task_rows(named(records)) == []


def test_the_page_and_the_table_of_figures_hold_them(records, tmp_path, monkeypatch):
    from tasks.report.figures.figures import DRAWINGS

    monkeypatch.setattr("tasks.render.write_figures", lambda *_: dict.fromkeys(DRAWINGS, "<svg></svg>"))
    write_run(records, tmp_path)
    page = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert 'id="standard-tasks"' in page
    assert "arc&lt;easy" in page
    assert "arc<easy" not in page
    assert "keeps 90.0" in page
    rows = [row for row in result_tables(named(records))["figures"] if row["set"] == "arc<easy"]
    assert [(row["model"], row["value"]) for row in rows] == [
        ("dense", 0.6), ("pruned", 0.3), ("repaired", 0.45), ("healed", 0.54),
    ]  # fmt: skip


def test_the_markdown_has_a_line_a_figure(records, tmp_path):
    for file, record in records.items():
        write_json(tmp_path / file, record)
    text = markdown_tables(
        *(tmp_path / name for name in ("scores.json", "evaluation", "healing", "mitigation"))
    )
    (line,) = [line for line in text.splitlines() if line.startswith("| arc")]
    assert line.count("|") == 3 + 4 + 3 + 1
    assert "0.540 [0.490, 0.590]" in line
    assert "90 % [85, 95]" in line


def test_abstention_stands_on_the_page_and_in_the_markdown(tmp_path, monkeypatch):
    from tasks.report.figures.figures import DRAWINGS

    records = run_records()
    mitigation = records["mitigation/figures.json"]
    silent = {"risk": 0.25, "n": 40, "answered": entry(0.3), "error": entry(0.2), "threshold": 0.6}
    mitigation["abstention"] = {
        name: {own: silent | {"answered": entry(share)} for own in mitigation["mitigated"]["sets"]}
        for name, share in (("dense", 0.3), ("mitigated", 0.8))
    }
    monkeypatch.setattr("tasks.render.write_figures", lambda *_: dict.fromkeys(DRAWINGS, "<svg></svg>"))
    write_run(records, tmp_path)
    page = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert 'id="abstention"' in page
    assert "mitigated: wrong among these" in page
    for file, record in records.items():
        write_json(tmp_path / file, record)
    parts = ("scores.json", "evaluation", "healing", "mitigation")
    lines = markdown_tables(*(tmp_path / name for name in parts)).splitlines()
    heads = (
        f"{name}: {what}" for name in ("dense", "mitigated") for what in ("answered", "wrong (goal 0.25)")
    )
    head = lines.index(f"| set | {' | '.join(heads)} |")
    assert "0.800 [0.750, 0.850]" in lines[head + 2]
