"""What the benchmarks import is there: no test runs all of them."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "benchmarks").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_name_that_a_benchmark_imports_is_there(path: Path) -> None:
    missing = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module.partition(".")[0] in {"avss_core", "benchmarks", "flows", "tasks"}:
            module = importlib.import_module(node.module)
            missing += [
                f"{node.module}.{alias.name}" for alias in node.names if not hasattr(module, alias.name)
            ]
    assert missing == []
