"""`avss report` as a person meets it: what it prints, where, and what it leaves behind."""

from pathlib import Path

from tasks.report.words.wording import Verdict
from tests.avss_core.cli.calls import DOCUMENTED, ROOT


def test_it_renders_a_workspace_again(avss, monkeypatch, tmp_path):
    from flows import report

    calls = []
    monkeypatch.setattr(report, "render", lambda *arguments: calls.append(arguments))
    for name in ("scores.json", "evaluation", "healing", "mitigation"):
        (tmp_path / "run" / "data" / name).mkdir(parents=True)
    printed = avss("report", "--workspace", tmp_path / "run", "--set", "seed=5")
    assert (printed.code, printed.out) == (0, f"{tmp_path / 'run/reports/index.html'}\n")
    ((params, workspace),) = calls
    assert (params.seed, workspace) == (5, tmp_path / "run")


def test_it_takes_the_settings_of_the_run_unless_told_otherwise(avss, monkeypatch, tmp_path):
    from flows import report

    calls = []
    monkeypatch.setattr(report, "render", lambda *arguments: calls.append(arguments[0]))
    for name in ("scores.json", "evaluation", "healing", "mitigation"):
        (tmp_path / "run" / "data" / name).mkdir(parents=True)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "run" / "params.yaml").write_text(
        text.replace("ratio: 0.25 ", "ratio: 0.1 "), encoding="utf-8"
    )
    for more in ([], ["--set", "prune.ratio=0.3"], ["--params", ROOT / "params.yaml"]):
        assert avss("report", "--workspace", tmp_path / "run", *more).code == 0
    assert [params.prune.ratio for params in calls] == [0.1, 0.3, 0.25]


def test_two_runs_become_a_page_and_a_table_or_text_alone(avss, monkeypatch):
    pages = []
    monkeypatch.setattr("tasks.compare.finding.find_run", lambda name, _home: name)
    monkeypatch.setattr("tasks.compare.runs.compare_runs", lambda *sides: {"sides": sides})
    monkeypatch.setattr("tasks.compare.views.write_page", lambda _found, path: pages.append(path))
    monkeypatch.setattr("tasks.compare.views.markdown", lambda comparison: f"# {comparison['sides']}")
    monkeypatch.setattr(
        "tasks.compare.views.plain_rows", lambda _found: [dict.fromkeys(DOCUMENTED["report"], 1.5)]
    )
    monkeypatch.setattr(
        "tasks.compare.verdicts.verdicts", lambda _found: [Verdict("fact", "A and B", ("more",))]
    )
    printed = avss("report", "--compare", "one", "two", "--set", "seed=5")
    assert (printed.code, printed.out.splitlines()[1:]) == (
        0,
        ["\t".join(["1.5"] * len(DOCUMENTED["report"]))],
    )
    assert printed.err == "The comparison is compare.html\n· fact: A and B\n    more\n"
    printed = avss("report", "--compare", "one", "two", "--json").json
    assert printed["verdicts"] == [{"tone": "fact", "text": "A and B", "details": ["more"]}]
    printed = avss("report", "--compare", "one", "two", "--markdown", "--set", "seed=5", "--out", "b.html")
    assert printed.out == "# ('one', 'two', 5)\n"
    assert pages == [Path("compare.html"), Path("b.html")]


def test_what_cannot_be_compared_is_refused(refused):
    assert "gone is no run" in refused("report", "--compare", "gone", "gone", "--out", "page.html")
    both = refused("report", "--compare", "a", "b", "--markdown", "--json")
    assert "--markdown and --json exclude each other" in both
    assert "--out and --json belong to --compare" in refused("report", "--json")


def test_it_needs_results(refused, tmp_path):
    message = refused("report", "--workspace", tmp_path)
    assert f"{tmp_path} does not hold the results of a run" in message
    assert "avss run --output DIR" in message
