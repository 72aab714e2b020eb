import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with an environment in which a script and a project in place were installed."""
    folder = tmp_path / "clone"
    venv.EnvBuilder(symlinks=True).create(folder / ".venv")
    (folder / "project.py").write_text("NAME = 'here'\n")
    script = folder / ".venv" / "bin" / "tool"
    script.write_text(
        f"#!{folder}/.venv/bin/python\nimport project, sys\nprint(project.NAME, *sys.argv[1:])\n"
    )
    script.chmod(0o755)
    next((folder / ".venv").glob("lib/python*/site-packages")).joinpath("own.pth").write_text(f"{folder}\n")
    return folder


@pytest.mark.parametrize("name", ["moved", "a b", "clone2", "50%", "m" * 150, "é'x"])
def test_scripts_follow_a_folder_that_moves_and_moves_again(clone: Path, name: str) -> None:
    for target in (clone.with_name(name), clone):
        clone = clone.rename(target)
        said = run(sys.executable, ROOT / ".ci" / "moved.py", ".venv", cwd=clone)
        assert said.startswith("The folder has moved from ")
        assert run(clone / ".venv" / "bin" / "tool", "x y", cwd="/") == "here x y\n"
        assert run(sys.executable, ROOT / ".ci" / "moved.py", ".venv", cwd=clone) == ""


def test_a_folder_that_begins_with_the_old_name_is_another(clone: Path) -> None:
    other = clone / ".venv" / "bin" / "other"
    other.write_text(f"#!/bin/sh\necho {clone}2/x {clone}/x\n")
    moved = clone.rename(clone.with_name("moved"))
    run(sys.executable, ROOT / ".ci" / "moved.py", ".venv", cwd=moved)
    assert (moved / ".venv" / "bin" / "other").read_text() == f"#!/bin/sh\necho {clone}2/x {moved}/x\n"


def test_every_target_that_needs_the_environment_lets_it_follow() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"^\$\(INSTALLED\): .* \| \.moved$", makefile, re.MULTILINE)
    assert re.search(r"^\.moved:\n.*\$\(VENV\)/bin/python \.ci/moved\.py \$\(VENV\)$", makefile, re.MULTILINE)
