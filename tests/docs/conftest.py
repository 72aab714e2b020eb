"""The pages that people read, taken apart: headings, links, code and commands."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from mdit_py_plugins.anchors.index import slugify

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Command:
    where: str
    words: tuple[str, ...]
    whole: bool
    """In a block to be copied; else a name in running text, which may leave arguments out."""


class Page:
    """One Markdown file."""

    def __init__(self, path: Path) -> None:
        self.name = path.relative_to(ROOT).as_posix()
        self.path, self.text = path, path.read_text(encoding="utf-8")
        tokens = MarkdownIt("commonmark").enable("table").parse(self.text)
        self.fences = [token for token in tokens if token.type in {"fence", "code_block"}]
        children = [child for token in tokens for child in token.children or ()]
        self.codes = [child.content for child in children if child.type == "code_inline"]
        self.links = [
            str(child.attrs[key]) for child in children for key in ("href", "src") if key in child.attrs
        ]
        titles = [tokens[i + 1] for i, token in enumerate(tokens) if token.type == "heading_open"]
        self.headings = [title.content for title in titles]
        self.anchors = {slugify(_plain(title)) for title in titles}

    def blocks(self, language: str) -> list[str]:
        return [fence.content for fence in self.fences if fence.info == language]

    @property
    def rows(self) -> list[list[str]]:
        """Cells of the lines of all tables."""
        lines = [line for line in self.text.splitlines() if line.startswith("| ")]
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]

    @property
    def commands(self) -> list[Command]:
        found = [
            Command(f"{self.name}: {line}", words, whole=True)
            for fence in self.fences
            for line in _lines(fence.info, fence.content)
            for words in _split(line)
        ]
        for code in self.codes:
            words = code.removeprefix(".venv/bin/").split(" ")
            if words[0] in {"avss", "dvc", "make", "mlflow", "pip", "prefect", "python"} and words[1:]:
                found += [Command(f"{self.name}: {code}", each, whole=False) for each in _split(code)]
        return found


def _plain(title: object) -> str:
    return "".join(child.content for child in title.children)  # type: ignore[attr-defined]


def _lines(language: str, content: str) -> list[str]:
    lines = content.replace("\\\n", " ").splitlines()
    if language == "console":
        return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return lines if language == "bash" else []


def _split(line: str) -> list[tuple[str, ...]]:
    """Return the commands of a line of shell, without variables and comments."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if word in {">", "<"}:
            next(words)
        elif word in {"&&", "||", "|", ";"}:
            commands.append([])
        elif commands[-1] or not re.match(r"[A-Z_]+=", word):
            commands[-1].append(word)
    return [(each[0].removeprefix(".venv/bin/"), *each[1:]) for each in commands if each]


@pytest.fixture(scope="session")
def pages() -> dict[str, Page]:
    """Every page by its name, such as docs/start.md."""
    paths = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
    return {page.name: page for page in map(Page, [*paths, *sorted((ROOT / "docs").glob("*.md"))])}


@pytest.fixture(scope="session")
def commands(pages: dict[str, Page]) -> list[Command]:
    """Every command of every page."""
    return [command for page in pages.values() for command in page.commands]
