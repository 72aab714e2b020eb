"""What no single module can promise: dvc.yaml, the schema, the flows and the tree agree."""

import ast
import re
import subprocess
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
    graph.remove_module("flows.params")
    return graph


def test_dvc_has_the_stages_of_the_pipeline_in_order(dvc_stages, stages):
    assert list(dvc_stages) == list(stages)
    for name, stage in dvc_stages.items():
        assert stage["cmd"] == f"python -m flows {name}"


def test_every_module_that_a_stage_imports_is_a_dependency(dvc_stages, imports):
    for name, stage in dvc_stages.items():
        modules = {f"flows.{name}", *imports.find_upstream_modules(f"flows.{name}")}
        # The packages' own __init__ files hold settings and docstrings.
        needed = {module.replace(".", "/") + ".py" for module in modules if "." in module}
        listed = {str(path) for path in stage["deps"] if str(path).endswith(".py")}
        assert listed == needed, name


def test_every_parameter_of_dvc_is_in_the_schema(dvc_stages):
    from flows.params import known_keys

    for name, stage in dvc_stages.items():
        assert set(stage["params"]) <= set(known_keys()), name


def test_every_parameter_that_a_stage_reads_is_tracked_by_dvc(dvc_stages, stages, imports):
    from flows.params import UNTRACKED

    for name, stage in dvc_stages.items():
        modules = {f"flows.{name}", *imports.find_upstream_modules(f"flows.{name}")}
        used = set()
        for module in modules:
            if module.startswith("flows.") and module != "flows.stage":  # which records the parameters
                used |= _used_parameters(ROOT / (module.replace(".", "/") + ".py"))
        assert used, name
        for key in used:
            section = key.partition(".")[0]
            if section in UNTRACKED:  # see the next test
                continue
            assert key in stage["params"] or section in stage["params"], f"{name} reads {key}"
            assert section in stages[name].sections, f"{name} does not record {section} in MLflow"


def test_how_a_run_is_carried_out_is_read_in_one_place_and_makes_no_stage_stale(dvc_stages):
    """That it changes no number is tested in tests/flows/test_execution.py."""
    from flows.params import UNTRACKED

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
    from tasks.result_tables import TABLES

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
    from flows.params import known_keys, load_params

    flat = load_params(ROOT / "params.yaml").flat()
    assert {key for key in known_keys() if "." in key} | {"seed"} == set(flat)


def test_one_number_for_dvc_and_for_the_code():
    from dvc.utils.serialize import load_yaml

    from flows.params import load_params

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
