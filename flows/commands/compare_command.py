"""`avss report --compare`: two runs side by side, as a page, a table, Markdown or JSON."""

import sys
from dataclasses import asdict
from pathlib import Path

from flows import ROOT
from flows.commands.printing import show
from tasks.compare.finding import find_run
from tasks.compare.runs import compare_runs
from tasks.compare.verdicts import MARKS, verdicts
from tasks.compare.views import markdown, plain_rows, write_page

PAGE = Path("compare.html")
"""Where the page goes unless a person says otherwise."""


def compare_reports(
    names: tuple[str, str], *, seed: int, out: Path | None, as_markdown: bool, as_json: bool
) -> None:
    """Compare two runs, and print the comparison.

    Args:
        names: the runs; see `tasks.compare.finding.find_run`.
        seed: of the resampling.
        out: file of the page; where None, `PAGE`, and no page if the comparison is printed as text.
        as_markdown: print Markdown.
        as_json: print one JSON object.

    Raises:
        ValueError: both forms of text are asked for.
    """
    if as_markdown and as_json:
        raise ValueError("--markdown and --json exclude each other: give one of them")
    first, second = (find_run(name, ROOT) for name in names)
    comparison = compare_runs(first, second, seed)
    page = out or (None if as_markdown or as_json else PAGE)
    if page is not None:
        write_page(comparison, page)
        print(f"The comparison is {page}", file=sys.stderr)
    if as_markdown:
        print(markdown(comparison))
        return
    said = [asdict(verdict) for verdict in verdicts(comparison)]
    if not as_json:
        for verdict in said:
            lines = [f"{MARKS[verdict['tone']]}: {verdict['text']}", *verdict["details"]]
            print("\n    ".join(lines), file=sys.stderr)
    title = f"A: {names[0]}, B: {names[1]}"
    show({**comparison, "verdicts": said}, plain_rows(comparison), title=title, as_json=as_json)
