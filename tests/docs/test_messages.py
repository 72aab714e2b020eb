"""Rows and messages of the pages are those of the code."""

import ast
import re
from pathlib import Path

import pytest

from avss_core.data.schemas import DOCUMENTS, QUESTIONS, SENTIMENT, read_rows

ROOT = Path(__file__).resolve().parents[2]
KINDS = {"question": QUESTIONS, "sentiment": SENTIMENT, "text": DOCUMENTS}


@pytest.fixture(scope="module")
def wrong_rows(pages):
    """(kind, row, message) of each wrong row."""
    found, kind = [], None
    for left, *right in (cells for cells in pages["docs/own_data.md"].rows if len(cells) == 2):
        title = re.fullmatch(r"wrong (\w+) row", left)
        if title:
            kind = title[1]
        elif not left.startswith("---") and kind and left.startswith("`"):
            found.append((kind, left.strip("`"), right[0].strip("`")))
        elif not left.startswith("---"):
            kind = None
    return found


def test_each_wrong_row_is_told_what_the_page_says(wrong_rows, tmp_path):
    assert {kind for kind, _, _ in wrong_rows} == set(KINDS)
    file = tmp_path / "train.jsonl"
    for kind, row, message in wrong_rows:
        file.write_text(row + "\n", encoding="utf-8")
        with pytest.raises(ValueError, match="bad lines: 1") as error:
            read_rows(file, KINDS[kind])
        assert str(error.value).splitlines()[1] == f"{file}:1: {message}"


def test_the_right_rows_pass_and_the_whole_message_is_that_of_its_rows(pages, wrong_rows, tmp_path):
    page = pages["docs/own_data.md"]
    file = tmp_path / "rows.jsonl"
    for kind, block in zip(KINDS, page.blocks("json"), strict=True):
        file.write_text(block, encoding="utf-8")
        read_rows(file, KINDS[kind])
    (message,) = (block for block in page.blocks("text") if "bad lines" in block)
    where = message.partition(":")[0]
    rows = [row for kind, row, _ in wrong_rows if kind == "question"]
    file.write_text(
        f"{rows[0]}\n{next(row for row in rows if 'wrong_answers' not in row)}\n", encoding="utf-8"
    )
    with pytest.raises(ValueError, match="bad lines: 2") as error:
        read_rows(file, QUESTIONS)
    assert str(error.value).replace(str(file), where) == message.rstrip("\n")


def test_every_message_of_the_page_of_errors_is_one_of_the_code(pages):
    templates = [*_templates(), (ROOT / "Makefile").read_text(encoding="utf-8")]
    cells = [
        cells[0] for cells in pages["docs/errors.md"].rows if len(cells) == 3 and cells[0].startswith("`")
    ]
    assert len(cells) > 30
    strange = []
    for cell in cells:
        message = cell.strip("` ")
        parts = [re.escape(part) for part in re.split(r"\.{3,4}", message) if part.strip(" :;,()'")]
        pattern = re.compile(".*?".join(parts), re.DOTALL)
        if not any(pattern.search(template) for template in templates):
            strange.append(message)
    assert strange == []


def test_a_message_in_a_folder_is_seen(tmp_path):
    planted = tmp_path / "tasks" / "deep" / "planted.py"
    planted.parent.mkdir(parents=True)
    planted.write_text('raise ValueError(f"there is no {name} here")\n', encoding="utf-8")
    assert "there is no  here" in list(_templates(tmp_path))


def _templates(root=ROOT):
    """Yield the texts of the code; what is put in stands as nothing."""
    for folder in ("avss_core", "tasks", "flows"):
        for file in (root / folder).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr):
                    yield "".join(
                        part.value if isinstance(part, ast.Constant) else "" for part in node.values
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
