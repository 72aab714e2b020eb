"""The notebook is that of the guide, and shows what its cells give when they are run in their order."""

import ast
import doctest
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def maker() -> Any:
    """The script that makes the notebook."""
    spec = importlib.util.spec_from_file_location("notebook", ROOT / "docs" / "notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_is_that_of_the_page(maker: Any) -> None:
    page = maker.PAGE.read_text(encoding="utf-8")
    assert maker.NOTEBOOK.read_text(encoding="utf-8") == maker.notebook_text(page), (
        "the page has changed: python docs/notebook.py writes the notebook again"
    )


def test_a_page_becomes_cells_of_text_and_of_examples_with_what_they_show(maker: Any) -> None:
    page = """\
# Guide

```python
>>> a = 1
>>> a + 1
2
>>> [][0]
Traceback (most recent call last):
IndexError: list index out of range
>>> b = 2
```
More.
<!-- not run -->
```python
>>> never()
```
"""
    text, _, _, first, error, rest, more = maker.notebook(page)["cells"]
    assert text["source"] == ["# Guide"]
    assert (first["source"], first["outputs"][0]["data"]) == (["a = 1\n", "a + 1"], {"text/plain": ["2"]})
    assert (error["source"], error["outputs"][0]["ename"]) == (["[][0]"], "IndexError")
    assert error["metadata"] == {"tags": ["raises-exception"]}
    assert (rest["source"], rest["outputs"]) == (["b = 2"], [])
    assert "".join(more["source"]).endswith("```python\n>>> never()\n```")


def test_every_cell_shows_what_the_notebook_says(
    maker: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from avss_core.surgery import certificate

    monkeypatch.setattr(certificate, "inspect_afresh", certificate.inspect_with_logits)  # which is quicker
    monkeypatch.chdir(tmp_path)
    cells = json.loads(maker.NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    codes = [cell for cell in cells if cell["cell_type"] == "code"]
    assert sum(len(ast.parse("".join(cell["source"])).body) for cell in codes) > 50
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(codes, 1):
        wanted = "".join(map(_shown, cell["outputs"]))
        given = _run("".join(cell["source"]), space)
        assert doctest.OutputChecker().check_output(wanted, given, OPTIONS), (number, cell["source"], given)


def _shown(output: dict[str, Any]) -> str:
    """Return what a cell shows, or the error that ends it."""
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}\n"
    return "".join(output["data"]["text/plain"]) + "\n"


def _run(source: str, space: dict[str, Any]) -> str:
    """Run a cell; return the value of its last line, or the error that ends it."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    try:
        exec(compile(ast.Module(body, []), "cell", "exec"), space)
        value = None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), space)
    except (LookupError, OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}\n"
    return "" if value is None else f"{value!r}\n"
