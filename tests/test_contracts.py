"""What no single module can promise: dvc.yaml, the schema, the flows and the tree agree."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def dvc_stages():
    return YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


@pytest.fixture(scope="module")
def stages():
    from flows.pipeline import STAGES

    return STAGES


@pytest.fixture(scope="module")
def imports():
    graph = grimp.build_graph("avss_core", "tasks", "flows", cache_dir=None)
    # Its values are tracked key by key under `params`; its registries would tie every stage to every module.
    for module in [name for name in graph.modules if name.startswith("avss_core.settings")]:
        graph.remove_module(module)
    return graph


def test_every_list_of_stages_is_the_same(dvc_stages, stages):
    from flows.__main__ import STAGE_NAMES

    assert list(STAGE_NAMES) == list(stages) == list(dvc_stages)


def test_dvc_has_the_stages_of_the_pipeline_in_order(dvc_stages, stages):
    assert list(dvc_stages) == list(stages)
    for name, stage in dvc_stages.items():
        assert stage["cmd"] == f"python -m flows {name}"


def test_every_module_that_a_stage_imports_is_a_dependency(dvc_stages, imports):
    for name, stage in dvc_stages.items():
        needed = _files_of(f"flows.{name}", imports)
        code = {dep for dep in stage["deps"] if dep.partition("/")[0] in {"avss_core", "tasks", "flows"}}
        covered = {dep: {file for file in needed if _under(file, dep)} for dep in code}
        assert set().union(*covered.values()) == needed, name
        # Templates stand in a folder of their own.
        assert {dep for dep, files in covered.items() if not files} <= {"tasks/report/templates"}, name


def test_a_module_that_no_dependency_holds_is_seen(imports):
    assert "avss_core/scores/ranking.py" in _files_of("flows.score", imports)
    assert not _under("avss_core/scores/ranking.py", "avss_core/scoresheet")
    assert _under("avss_core/scores/ranking.py", "avss_core/scores")
    assert _under("tasks/score.py", "tasks/score.py")


def test_every_parameter_of_dvc_is_in_the_schema(dvc_stages):
    from avss_core.settings.params import known_keys

    for name, stage in dvc_stages.items():
        assert set(stage["params"]) <= set(known_keys()), name


def test_every_parameter_that_a_stage_reads_is_tracked_by_dvc(dvc_stages, stages, imports):
    from avss_core.settings.params import UNTRACKED

    for name, stage in dvc_stages.items():
        used = set()
        for file in _files_of(f"flows.{name}", imports):
            # `stage.py` records the parameters.
            if file.startswith(("flows/", "avss_core/jobs/")) and file != "flows/running/stage.py":
                used |= _used_parameters(ROOT / file)
        assert used, name
        for key in used:
            section = key.partition(".")[0]
            if section in UNTRACKED:  # see the next test
                continue
            assert key in stage["params"] or section in stage["params"], f"{name} reads {key}"
            assert section in stages[name].sections, f"{name} does not record {section} in MLflow"


def test_how_a_run_is_carried_out_is_read_in_one_place_and_makes_no_stage_stale(dvc_stages):
    """That it changes no number is tested in tests/flows/running/test_execution.py."""
    from avss_core.settings.params import UNTRACKED

    for name, stage in dvc_stages.items():
        assert not {key.partition(".")[0] for key in stage["params"]} & set(UNTRACKED), name
    assert _readers(ROOT / "flows", set(UNTRACKED)) == ["execution.py"]


def test_a_reader_of_parameters_in_a_folder_is_seen(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "planted.py").write_text("engine = params.execution.engine\n", encoding="utf-8")
    assert _readers(tmp_path, {"execution"}) == ["planted.py"]


def test_no_stage_persists_its_outputs(dvc_stages):
    assert "persist" not in str(dvc_stages)


def test_the_plots_of_dvc_are_of_columns_and_templates_that_are_there():
    from tasks.report.result_tables import TABLES

    declared = YAML(typ="safe").load(ROOT / "dvc.yaml")["plots"]
    plots = {name: plot for entry in declared for name, plot in entry.items()}
    drawn = set()
    for name, plot in plots.items():
        ((file, column),) = plot["y"].items()
        drawn.add(Path(file).stem)
        template = (ROOT / ".dvc" / "plots" / f"{plot['template']}.json").read_text(encoding="utf-8")
        fields = set(re.findall(r'"field": "(\w+)"|datum\.(\w+)', template))
        own = {field or datum for field, datum in fields} - {"rev", "variant"}
        # One template serves files with and without this column.
        own -= {"series"} if plot["template"] == "intervals" else set()
        assert {plot["x"], column} | own <= set(TABLES[Path(file).stem]), name
        assert Path(file).parent.as_posix() == "reports/tables"
    assert drawn == set(TABLES) - {"figures"}


def test_params_yaml_is_complete():
    from avss_core.settings.params import known_keys
    from avss_core.settings.reading import load_params

    flat = load_params(ROOT / "params.yaml").flat()
    assert {key for key in known_keys() if "." in key} | {"seed"} == set(flat)


def test_one_number_for_dvc_and_for_the_code():
    from dvc.utils.serialize import load_yaml

    from avss_core.settings.reading import load_params

    threshold = load_yaml(ROOT / "params.yaml")["collect"]["threshold"]
    assert threshold == load_params(ROOT / "params.yaml").collect.threshold == 1e-5


def test_the_tree_names_no_machine():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".txt"} and path != Path(__file__):
            text = path.read_text(encoding="utf-8")
            for bad in ("/root/", "/home/", "/work/", "pypi.org/simple", "file:///"):
                assert bad not in text, f"{name} holds {bad}"


def _files_of(module, imports):
    """Return the files of a module and of all that it imports, but for the `__init__` of packages.

    Those hold a docstring, and of `flows` the settings of libraries.
    """
    modules = {module, *imports.find_upstream_modules(module)}
    files = {name.replace(".", "/") + ".py" for name in modules}
    return {file for file in files if (ROOT / file).is_file()}


def _under(file, dep):
    """Tell whether a file is a dependency or lies in a folder that is one."""
    return file == dep or file.startswith(f"{dep}/")


def _readers(folder, sections):
    """Return the names of the files below a folder that read a parameter of the sections."""
    read = {path: {key.partition(".")[0] for key in _used_parameters(path)} for path in folder.rglob("*.py")}
    return sorted(path.name for path, used in read.items() if used & sections)


def _used_parameters(path):
    """Return the keys `params.section.key` that a module reads; `options = params.section` is followed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    aliases = _aliases(tree)
    keys = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        if _is_section(node.value):
            keys.add(f"{node.value.attr}.{node.attr}")
        elif isinstance(node.value, ast.Name) and node.value.id in aliases:
            keys.add(f"{aliases[node.value.id]}.{node.attr}")
        elif _is_section(node) and node.attr == "seed":
            keys.add("seed")
        elif _is_section(node) and node.attr == "flat":  # all of them
            keys |= {"model.name", "data.source", "collect.tokens", "mitigate.layers"}
    return keys


def _aliases(tree):
    """Return the local names that stand for a section."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else node.targets
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            pairs = zip(targets, values, strict=False)
            found |= {target.id: value.attr for target, value in pairs if _is_section(value)}
    return found


def _is_section(node):
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params"


WRONG_IMPORTS = {
    "avss_core/models/planted_model.py": "from avss_core.surgery.pruning import prune",
    "avss_core/judges/planted_judge.py": "from avss_core.metrics.calibration import ece",
    "tasks/cache/planted_bar.py": "from tasks.report.pages import environment",
    "avss_core/jobs/planted_job.py": "from avss_core.cli.printing import show",
    "tasks/collect.py": "from tasks.score import compare_costs",
    "flows/running/planted_run.py": "from flows.score import score",
    "tasks/planted_stage.py": "",  # a file that no contract places
}


def test_wrong_imports_are_refused(tmp_path):
    for name in ("avss_core", "tasks", "flows"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, line in WRONG_IMPORTS.items():
        with (tmp_path / file).open("a", encoding="utf-8") as planted:
            planted.write(f"{line}\n")
    done = subprocess.run(
        [sys.executable, "-c", "import importlinter.cli as cli; cli.lint_imports_command()"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    broken = [line.partition(" ")[2] for line in done.stdout.splitlines() if line.endswith("BROKEN")]
    assert len(broken) == 3, "the folders of each package"
    for file in WRONG_IMPORTS:
        assert Path(file).stem in done.stdout, file


@pytest.mark.parametrize("package", ["avss_core", "tasks", "flows"])
def test_no_folder_holds_more_than_a_reader_takes_in(package):
    modules = [path for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]
    folders = Counter(path.parent.relative_to(ROOT).as_posix() for path in modules)
    assert {name: count for name, count in folders.items() if count > 16} == {}
    names = Counter(path.stem for path in modules)
    assert [name for name, count in names.items() if count > 1] == []
