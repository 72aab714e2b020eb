"""What the wheel installs: the core alone, at work in any folder with what it declares and no more.

The wheel is built from a source distribution of the tracked files, as `python -m build` does, and installed
in a new environment. That environment has no packages of its own: those that the wheel requires, and what
these require, are links to the ones of the environment of the tests. So nothing is fetched, and whatever the
wheel needs and does not declare is missing, and with it Prefect, DVC and MLflow.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.avss_core.cli.calls import QUICK as QUICK_SETTINGS
from tests.avss_core.cli.calls import SETTINGS, write_rows, write_set, write_text
from tests.avss_core.cli.conftest import data

__all__ = ["data"]

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    "avss_core",
    "data/sample",
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "params.yaml",
    "params.schema.json",
    "README.md",
    "LICENSE",
)
BUILD = """
import os, sys, tarfile
from pathlib import Path
from setuptools import build_meta

out = sys.argv[1]
packed = build_meta.build_sdist(out)
tarfile.open(Path(out, packed)).extractall(out, filter="data")
os.chdir(Path(out, packed.removesuffix(".tar.gz")))
build_meta.build_wheel(out)
"""
QUICK = ("--set", "collect.tokens=512", "--set", "collect.window=64", "--set", "repair.tokens=600", "--json")


def _run(*command, **options):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


EVALUATED = [
    part
    for key, value in QUICK_SETTINGS.items()
    if key.startswith("evaluate.")
    for part in ("--set", f"{key}={value}")
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    tracked = _run("git", "ls-files", *SOURCES, cwd=ROOT).splitlines()
    for name in filter(lambda name: (ROOT / name).is_file(), tracked):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    _run(sys.executable, "-c", BUILD, folder, cwd=folder / "source")
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of the commands of an environment that holds the wheel and what it requires."""
    place = tmp_path_factory.mktemp("environment")
    _run(sys.executable, "-m", "venv", "--without-pip", place)
    python = place / "bin" / "python"
    packages = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    _run(*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel)
    for entry in _required(Path(wheel)):
        link = packages / entry.name
        if not link.exists():
            link.symlink_to(entry, target_is_directory=entry.is_dir())
    return place / "bin"


def _required(wheel):
    """Return what lies in this environment of the packages that the wheel requires, however deep."""
    (own,) = importlib.metadata.Distribution.discover(path=[str(wheel)])
    waiting, seen, entries = list(own.requires or ()), set(), {}
    while waiting:
        needed = Requirement(waiting.pop())
        if needed.name in seen or (needed.marker and not needed.marker.evaluate({"extra": ""})):
            continue
        seen.add(needed.name)
        known = importlib.metadata.distribution(needed.name)
        waiting += known.requires or ()
        for file in known.files or ():
            if file.parts[0] not in {"..", "__pycache__"}:
                top = Path(str(known.locate_file(file.parts[0])))
                entries[top.name] = top
    assert {"torch", "transformers", "typer"} <= seen
    return list(entries.values())


@pytest.fixture
def avss(installed, tmp_path, monkeypatch):
    """Run a command of the environment in an empty folder, and return the finished process."""
    here = tmp_path / "here"
    here.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "OMP_NUM_THREADS") if name in os.environ}

    def call(*arguments, shell=()):
        return subprocess.run(
            [*shell, str(installed / "avss"), *map(str, arguments)],
            cwd=here,
            env=kept | {"HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    call.here, call.home = here, tmp_path / "home"
    call.by_shell = partial(call, shell=("bash", "-c", '"$@"; exit $?', "bash"))
    return call


def _small_data(folder):
    """Write one set, text and reviews that fit the tiny model, and return the folder."""
    write_set(folder, "nq")
    write_text(folder)
    for part in ("train", "validation"):
        rows = [{"id": f"{part}-{i}", "text": f"film {i} is {i % 2}", "label": i % 2} for i in range(4)]
        write_rows(folder / "sst2" / f"{part}.jsonl", rows)
    return folder


def test_only_the_core_is_in_it(wheel):
    import zipfile

    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"avss_core", "avss_core-0.1.0.dist-info"}
    held = {
        "py.typed",
        "__init__.pyi",
        "settings/params.yaml",
        "settings/params.schema.json",
        "data/sample/nq/train.jsonl",
    }
    assert {f"avss_core/{name}" for name in held} <= set(names)
    packed = zipfile.ZipFile(wheel).read("avss_core/settings/params.yaml")
    assert packed == (ROOT / "params.yaml").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(900)  # six processes, each of which imports torch
def test_it_scores_sweeps_prunes_repairs_verifies_and_evaluates_in_an_empty_folder(avss, checkpoint):
    def done(*arguments):
        finished = avss(*arguments)
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    scored = done("score", checkpoint, "--ratio", "0.34", *QUICK)
    assert scored["text"] == "sample"
    assert len(scored["removed"]) == 2
    assert list((avss.home / ".cache" / "avss").glob("text-statistics-*"))
    assert not list(avss.here.iterdir())
    few = ("--scores", "last_n", "--remove", "1", "--set", "score.cost_tokens=128")
    swept = done("sweep", checkpoint, "--no-repair", *few, *QUICK)
    assert [point["removed"] for point in swept["points"]] == [[5]]
    assert {path.name for path in (avss.here / f"sweep-{checkpoint.name}").iterdir()} == {
        "points",
        "sweep.json",
        "sweep.svg",
    }
    pruned = done("prune", checkpoint, "--ratio", "0.34", "--score", "avss", "--out", "pruned", *QUICK)
    assert pruned["removed"] == scored["removed"]
    repaired = done("repair", "pruned", "--teacher", checkpoint, "--out", "repaired", *QUICK)
    assert repaired["fit"]["projections"]
    assert done("verify", "repaired", "--json")["passed"] is True
    asked = ("--data", _small_data(avss.home.parent / "data"), "--limit", "2", *EVALUATED)
    evaluated = done("evaluate", checkpoint, "repaired", *asked, "--json")
    assert evaluated["models"][1]["against_base"]["changes"]["nq"]["n"] == 2
    assert sorted(path.name for path in avss.here.iterdir()) == [
        "pruned",
        "repaired",
        f"sweep-{checkpoint.name}",
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_localizes_trains_and_evaluates_in_an_empty_folder(avss, checkpoint, data):
    finished = avss(
        "mitigate", checkpoint, "--data", data, "--sets", "nq", "--out", "trained", "--json", *SETTINGS
    )
    assert finished.returncode == 0, finished.stderr
    record = json.loads(finished.stdout)
    assert len(record["training"]["layers"]) == 2
    assert record["before"]["sets"]["nq"]["n"] == record["after"]["sets"]["nq"]["n"] == 6
    assert list((avss.home / ".cache" / "avss").glob("answer-set-*"))
    assert [path.name for path in avss.here.iterdir()] == ["trained"]


def test_what_belongs_to_the_pipeline_says_where_that_is_to_be_had(avss):
    for command in ("run --output here", "cache ls", "report"):
        finished = avss(*command.split())
        assert finished.returncode == 1
        assert finished.stderr == (
            f"error: avss {command.split()[0]} belongs to the pipeline, which is not installed here: run "
            "`make install` in a clone of the repository of AVSS, and then its .venv/bin/avss\n"
        )
    assert not list(avss.here.iterdir())


def test_it_says_its_version_and_completes_names(avss):
    assert avss("--version").stdout == "avss 0.1.0\n"
    # The shell is found among the parents, of which a run in the background may have none.
    shown = avss.by_shell("--show-completion")
    assert "_AVSS_COMPLETE" in shown.stdout, shown.stderr
