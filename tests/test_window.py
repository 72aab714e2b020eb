"""What a visitor of the repository finds at its root agrees with what the project is."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _yaml(name):
    return YAML(typ="safe").load(ROOT / name)


def test_the_citation_has_version_and_licence_of_the_package_and_both_papers(project):
    citation = _yaml("CITATION.cff")
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["authors"] == project["authors"]
    papers = {paper["url"] for paper in citation["references"]}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert papers == set(re.findall(r"\((https://arxiv\.org/abs/2411\.\d+)\)", readme))


def test_the_page_of_security_leads_to_the_whole_one():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    (link,) = re.findall(r"\]\((.+?)\)", text)
    assert (ROOT / link).is_file()


def test_the_newest_version_of_the_changelog_is_that_of_the_package(project):
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, *versions = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert unreleased == ("Unreleased", "")
    assert versions[0][0] == project["version"]
    assert all(date for _, date in versions)
    assert len(versions) == len(re.findall(r"^## \[\d", text, re.MULTILINE))


def test_the_workflow_of_the_forge_is_the_check_that_a_person_runs(project):
    workflow = _yaml(".github/workflows/ci.yml")
    (job,) = workflow["jobs"].values()
    steps = job["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    (python,) = [step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", "")]
    assert project["requires-python"] == f">={python}"
    assert workflow["permissions"] == {"contents": "read"}
