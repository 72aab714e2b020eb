"""What the pages and docstrings show is run, so that none of it can go stale."""

import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(r"(<!-- not run -->\n)?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def modules_with_examples(package: Path) -> list[str]:
    """Return the dotted names of the modules below a package's folder whose docstrings show examples."""
    return [
        ".".join(path.relative_to(package.parent).with_suffix("").parts)
        for path in sorted(package.rglob("*.py"))
        if ">>>" in path.read_text(encoding="utf-8") and path.stem != "__init__"
    ]


MODULES = modules_with_examples(ROOT / "avss_core")


def blocks(page: str) -> list[str]:
    """Return the Python blocks of a page that are to be run."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [code for skipped, code in BLOCK.findall(text) if not skipped]


def failures(test: doctest.DocTest) -> str:
    """Return what differs when the examples of a test are run; nothing where all are as shown."""
    said: list[str] = []
    doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append, clear_globs=False)
    return "".join(said)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    """Stand in an empty folder that holds `model`, and make checks in this process, which is quicker."""
    from avss_core.surgery import certificate

    monkeypatch.setattr(certificate, "inspect_afresh", certificate.inspect_with_logits)
    checkpoint.rename(checkpoint.with_name("model"))
    monkeypatch.chdir(checkpoint.parent)


@pytest.fixture
def registries() -> Iterator[None]:
    """Take out afterwards what a page put into a registry."""
    from avss_core.models import architectures
    from avss_core.scores import scores

    tables: list[dict[str, Any]] = [scores.SCORES, architectures.ARCHITECTURES]
    before = [dict(table) for table in tables]
    yield
    for table, was in zip(tables, before, strict=True):
        table.clear()
        table.update(was)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_docstring_run_as_shown(name: str) -> None:
    module = importlib.import_module(name)
    found = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert found, "its examples were not found"
    assert [said for said in map(failures, found) if said] == []


def test_an_example_in_a_folder_is_found_and_a_wrong_one_fails(tmp_path: Path) -> None:
    planted = tmp_path / "package" / "deep" / "planted.py"
    planted.parent.mkdir(parents=True)
    planted.write_text('"""An example.\n\n>>> 1 + 1\n3\n"""\n', encoding="utf-8")
    assert modules_with_examples(tmp_path / "package") == ["package.deep.planted"]
    (test,) = doctest.DocTestParser().get_examples(planted.read_text(encoding="utf-8"))
    assert failures(doctest.DocTest([test], {}, "planted", None, 0, None)) != ""


def test_the_first_example_of_the_guide_is_about_ten_lines() -> None:
    statements = doctest.DocTestParser().get_examples(blocks("library.md")[0])
    assert len(statements) <= 10


@pytest.mark.usefixtures("here", "registries")
@pytest.mark.parametrize("page", ["adding_a_score.md", "adding_an_architecture.md"])
def test_the_blocks_of_a_page_run_in_their_order(page: str) -> None:
    namespace: dict[str, Any] = {"__name__": page.removesuffix(".md")}
    for number, code in enumerate(blocks(page), 1):
        exec(compile(code, f"{page}, block {number}", "exec"), namespace)
    assert "assert " in code


def test_the_guide_lists_exactly_the_public_names() -> None:
    import avss_core

    table = (ROOT / "docs" / "library.md").read_text(encoding="utf-8").partition("## All names")[2]
    listed = [name for line in re.findall(r"^\| `.*", table, re.MULTILINE) for name in named(line)]
    assert sorted(listed) == sorted(avss_core.__all__)


def named(row: str) -> list[str]:
    """Return the names in the first cell of a row of a table."""
    return re.findall(r"`(\w+)`", row.split("|")[1])
